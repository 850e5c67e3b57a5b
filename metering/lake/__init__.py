"""
The archive of events: Parquet files in a folder or a bucket, each named by the hash of its content.

``layout`` says what a file holds, ``store`` where it lies, ``export`` writes a day of events, ``replay`` reads it back.
"""

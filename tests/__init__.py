"""
Tests mirror the code: ``tests/<app>/test_<module>.py``.

``support`` holds what they share, ``factories`` the rows they start from, ``stand_ins`` who plays the outside world.
"""

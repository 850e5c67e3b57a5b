ALTER TABLE metering_usage_summary RESET (fillfactor);
DROP FUNCTION metering_open_batch();
DROP SEQUENCE metering_batch_id_seq;
DROP FUNCTION metering_make_partition(date);
DROP TABLE metering_event;
DROP FUNCTION metering_guard_partition(regclass);

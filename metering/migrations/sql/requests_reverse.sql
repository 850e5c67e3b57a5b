ALTER TABLE metering_request_summary RESET (fillfactor);

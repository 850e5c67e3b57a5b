"""How the admin writes dates and times: ISO 8601 order, so that they sort and cannot be misread. Times are UTC."""

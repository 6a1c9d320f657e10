-- The rows by which an event is found are compared with what it lists, page by page of the history.
create index audit_object_by_sequence on audit_object (sequence);

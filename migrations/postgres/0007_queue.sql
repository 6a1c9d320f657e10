-- The local queue is a table of the embedded mode; on this database the queue is JetStream, and
-- this step changes nothing.
select 1;

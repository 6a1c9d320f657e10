-- The W3C trace id of the request that a delivery came with, and of the request that asked for a
-- run last: everything that one push or one request sets going bears it.
alter table delivery add column trace text;
alter table stack_state add column pending_trace text;

-- A run is of one node of its target; a target of one node, and the first of several, is "".
alter table run add column node text not null default '';

-- One run at a time writes to a node, and an intent without an outcome bars the next one there; a
-- node that is away must not bar the others.
drop index run_open;
create unique index run_open on run (target, node) where status = 'running';

-- How far each node of a target of several is, and since when it lags behind.
create table node_state (
    stack text not null,
    node text not null,
    settled text,
    settled_at integer,
    lag_since integer,
    problem text,
    primary key (stack, node)
) strict;

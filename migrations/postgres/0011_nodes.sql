-- A run is of one node of its target; a target of one node, and the first of several, is "".
alter table run add column node text not null default '';

-- How far each node of a target of several is, and since when it lags behind.
create table node_state (
    stack text not null,
    node text not null,
    settled text,
    settled_at bigint,
    lag_since bigint,
    problem text,
    primary key (stack, node)
);

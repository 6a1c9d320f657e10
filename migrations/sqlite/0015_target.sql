-- What was on a target that no stack owns, and since when: a JSON object from object to the time
-- at which it was first seen, microseconds UTC. A target is doubtful from when the database was
-- found to know less than what had been told before, until ownership was taken anew.
create table target_state (
    target text not null,
    node text not null,
    foreign_objects text not null,
    since integer not null,
    seen_at integer not null,
    doubtful_since integer,
    primary key (target, node)
) strict;

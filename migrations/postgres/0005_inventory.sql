-- Which stack owns which object of a target. The only record of ownership.
create table inventory (
    target text not null,
    node text not null,
    object text not null,
    stack text not null,
    desired text not null,
    observed text,
    listed text,
    gateway_version text not null,
    run text not null,
    since bigint not null,
    observed_at bigint not null,
    primary key (target, node, object)
);

create index inventory_by_stack on inventory (stack);

-- The file that described an object when it was applied last: what left Git can be told from what
-- is only not read any more.
alter table inventory add column path text;

-- What a stack was told to let go of, and its manifests may still describe.
create table released (
    target text not null,
    object text not null,
    stack text not null,
    run text not null,
    primary key (target, object, stack)
) strict;

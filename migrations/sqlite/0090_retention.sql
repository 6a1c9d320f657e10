-- What stays of events that left the history: their hashes, the leaves of its tree.
create table audit_leaf (
    sequence integer primary key check (sequence >= 0),
    hash text not null,
    -- Of an event that named a signing key, because checkpoints are verified by it for ever.
    header text,
    payload text
) strict;

create index audit_leaf_by_key on audit_leaf (sequence) where header is not null;

-- "insert or replace" fires no trigger for the row that it takes out, hence the second half.
create trigger audit_leaf_no_insert before insert on audit_leaf
when not exists (select 1 from audit_event where sequence = new.sequence and hash = new.hash)
    or exists (select 1 from audit_leaf where sequence = new.sequence)
begin
    select raise(abort, 'a leaf is the hash of an event');
end;

create trigger audit_leaf_no_update before update on audit_leaf
begin
    select raise(abort, 'the tree of the history is append-only');
end;

create trigger audit_leaf_no_delete before delete on audit_leaf
begin
    select raise(abort, 'the tree of the history is append-only');
end;

drop trigger audit_event_no_delete;

create trigger audit_event_no_delete before delete on audit_event
when not exists (select 1 from audit_leaf where sequence = old.sequence and hash = old.hash)
begin
    select raise(abort, 'the history is append-only');
end;

-- "insert or replace" fires no trigger for the row that it takes out. It is refused when it is done,
-- which takes it back: to look before it would compute every column that is made of the header twice.
-- What the head counts is the history, whether it is still here or left.
drop trigger audit_event_no_insert;

create trigger audit_event_no_insert after insert on audit_event
when new.sequence < (select size from audit_head)
begin
    select raise(abort, 'the history is append-only');
end;

-- The same commit as before, by the type and not by a search through every header.
drop index audit_event_by_pushed;
alter table audit_event drop column pushed;
alter table audit_event add column pushed text generated always as
(case when type glob 'delivery.*' and json_valid(payload) then payload ->> '$.after' end) virtual;
create index audit_event_by_pushed on audit_event (pushed, sequence) where pushed is not null;

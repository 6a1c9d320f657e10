-- What the history is asked by: each of these answers the first page of one question without
-- reading past what it shows.

-- A change knows its run's stack, target and time, so that it is found without it.
alter table change add column stack text not null default '';
alter table change add column target text not null default '';
alter table change add column at integer not null default 0;
update change set stack = run.stack, target = run.target, at = run.started_at
from run where run.id = change.run;

drop index change_by_object;
create index change_by_time on change (at, run, position);
create index change_by_target on change (target, at, run, position);
create index change_by_stack on change (stack, at, run, position);
create index change_by_object on change (object, at, run, position);
create index change_by_target_object on change (target, object, at, run, position);
create index change_by_outcome on change (outcome, at, run, position);

-- People by what they go by, in lower case. Both are gone with what they are computed from.
alter table run add column pusher_login text generated always as
(case when json_valid(pusher) then lower(pusher ->> '$.login') end) virtual;
alter table run add column pusher_email text generated always as
(case when json_valid(pusher) then lower(pusher ->> '$.email') end) virtual;
alter table run add column pusher_name text generated always as
(case when json_valid(pusher) then lower(pusher ->> '$.name') end) virtual;
create index run_by_pusher_login on run (pusher_login, started_at, id);
create index run_by_pusher_email on run (pusher_email, started_at, id);
create index run_by_pusher_name on run (pusher_name, started_at, id);

create index run_by_target on run (target, started_at, id);
create index run_by_status on run (status, started_at, id);
create index run_by_commit on run (revision, started_at, id);

alter table delivery add column pusher_login text generated always as
(case when json_valid(pusher) then lower(pusher ->> '$.login') end) virtual;
alter table delivery add column pusher_email text generated always as
(case when json_valid(pusher) then lower(pusher ->> '$.email') end) virtual;
alter table delivery add column pusher_name text generated always as
(case when json_valid(pusher) then lower(pusher ->> '$.name') end) virtual;
create index delivery_by_pusher_login on delivery (pusher_login, received_at, id);
create index delivery_by_pusher_email on delivery (pusher_email, received_at, id);
create index delivery_by_pusher_name on delivery (pusher_name, received_at, id);
create index delivery_by_time on delivery (received_at, id);
create index delivery_by_repository on delivery (repository, received_at, id);

alter table delivery_stack add column received_at integer not null default 0;
update delivery_stack set received_at = delivery.received_at
from delivery where delivery.id = delivery_stack.delivery;
create index delivery_stack_by_time on delivery_stack (stack, received_at, delivery);

-- Every commit that a delivery announced, with the one that it left the branch at.
create table delivery_commit (
    revision text not null,
    delivery text not null references delivery (id),
    primary key (revision, delivery)
) strict, without rowid;

insert into delivery_commit (revision, delivery)
select commits.value ->> '$.id', delivery.id
from delivery, json_each(delivery.commits) as commits
where commits.value ->> '$.id' is not null
union
select revision_after, id from delivery where revision_after is not null;

create index run_delivery_by_delivery on run_delivery (delivery, run);

create index approval_by_time on approval (at, id);
create index approval_by_stack on approval (stack, at, id);
create index approval_by_run on approval (used_by, at, id);
create index approval_by_person on approval (person, at, id);

create index inventory_by_object on inventory (object);
create index inventory_by_path on inventory (path);

-- The commit that a delivery's event names; other events are found by their run.
alter table audit_event add column pushed text generated always as
(case
    when header like '%"type":"delivery.%' and json_valid(payload)
    then payload ->> '$.after'
end) virtual;
create index audit_event_by_pushed on audit_event (pushed, sequence) where pushed is not null;
create index audit_event_by_actor on audit_event (actor_id, sequence);

alter table audit_person add column login text generated always as
(case when json_valid(value) then lower(value ->> '$.login') end) virtual;
alter table audit_person add column email text generated always as
(case when json_valid(value) then lower(value ->> '$.email') end) virtual;
alter table audit_person add column name text generated always as
(case when json_valid(value) then lower(value ->> '$.name') end) virtual;
create index audit_person_by_login on audit_person (login, sequence);
create index audit_person_by_email on audit_person (email, sequence);
create index audit_person_by_name on audit_person (name, sequence);

-- Objects that an event's payload lists and its header cannot name: drift, and what appeared. Only
-- a way to find the event; what counts is the payload.
create table audit_object (
    object text not null,
    sequence integer not null,
    primary key (object, sequence)
) strict, without rowid;

insert into audit_object (object, sequence)
select distinct listed.value, audit_event.sequence
from audit_event, json_each(audit_event.payload, '$.objects') as listed
where audit_event.type in ('drift.observed', 'foreign.appeared');

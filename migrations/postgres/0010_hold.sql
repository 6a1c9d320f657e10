-- A stack's hold, while it has one: since when, until when unless it is released before, why and
-- by whom. A rollback holds too: at which revision, and the value of wanted that stands for it.
alter table stack_state add column hold_since bigint;
alter table stack_state add column hold_until bigint;
alter table stack_state add column hold_reason text;
alter table stack_state add column hold_by text;
alter table stack_state add column hold_revision text;
alter table stack_state add column hold_generation bigint;

//! The rows of what a page shows, and what they say.

use super::{ApprovalEntry, ChangeEntry, ObjectEntry};
use crate::{
    domain::run::RunId,
    store::{
        approval::approver,
        error::{Error, Result, parse, parse_json, parse_opt},
        inbox::DeliveryRow,
        inventory::OwnedRow,
        runs::ChangeRow,
    },
};

#[derive(sqlx::FromRow)]
pub(super) struct ChangeEntryRow {
    #[sqlx(flatten)]
    change: ChangeRow,
    run: String,
    stack: String,
    target: String,
    at: i64,
    node: String,
    finished_at: Option<i64>,
    trigger: String,
    status: String,
    revision: Option<String>,
    pusher: Option<String>,
}

impl TryFrom<ChangeEntryRow> for ChangeEntry {
    type Error = Error;

    fn try_from(row: ChangeEntryRow) -> Result<Self> {
        Ok(Self {
            change: row.change.try_into()?,
            trigger: parse("trigger", &row.trigger)?,
            status: parse("status", &row.status)?,
            revision: parse_opt("revision", row.revision.as_deref())?,
            pusher: row
                .pusher
                .map(|pusher| parse_json("person", &pusher))
                .transpose()?,
            run: RunId(row.run),
            stack: row.stack,
            target: row.target,
            node: row.node,
            at: row.at,
            finished_at: row.finished_at,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct DeliveryOfRunRow {
    pub run: String,
    #[sqlx(flatten)]
    pub delivery: DeliveryRow,
}

#[derive(sqlx::FromRow)]
pub(super) struct ApprovalRow {
    id: String,
    stack: String,
    plan_hash: String,
    run: String,
    choice: String,
    person: Option<String>,
    actor: Option<String>,
    reason: String,
    at: i64,
    expires_at: i64,
    used_by: Option<String>,
    voided_at: Option<i64>,
}

impl TryFrom<ApprovalRow> for ApprovalEntry {
    type Error = Error;

    fn try_from(row: ApprovalRow) -> Result<Self> {
        Ok(Self {
            plan_hash: parse("digest", &row.plan_hash)?,
            choice: parse("choice", &row.choice)?,
            by: approver(row.person, row.actor, &row.id)?,
            id: row.id,
            stack: row.stack,
            run: RunId(row.run),
            reason: row.reason,
            at: row.at,
            expires_at: row.expires_at,
            used_by: row.used_by.map(RunId),
            voided_at: row.voided_at,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct ObjectRow {
    target: String,
    node: String,
    #[sqlx(flatten)]
    owned: OwnedRow,
}

impl TryFrom<ObjectRow> for ObjectEntry {
    type Error = Error;

    fn try_from(row: ObjectRow) -> Result<Self> {
        let (object, owned) = row.owned.read()?;
        Ok(Self {
            target: row.target,
            node: row.node,
            object,
            owned,
        })
    }
}

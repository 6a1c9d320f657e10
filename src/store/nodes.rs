//! How far each node of a target of several is. Written inside the transactions of runs.

use super::{
    Store,
    db::{Tx, clean_opt},
    error::{Result, parse_opt},
    stack::StackTarget,
};
use crate::domain::{revision::Revision, run::RunId};

/// What a run says of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeProgress {
    /// The revision that the node was brought to; `None` leaves it where it was.
    pub settled: Option<Revision>,
    /// Why it is not where it should be.
    pub problem: Option<String>,
}

/// How one node stands for one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    pub stack: String,
    pub node: String,
    pub settled: Option<Revision>,
    pub settled_at: Option<i64>,
    /// Since when it is not where it should be.
    pub lag_since: Option<i64>,
    pub problem: Option<String>,
}

type NodeRow = (
    String,
    String,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<String>,
);

impl Store {
    /// Every node that a run has been to, of targets of several.
    pub async fn node_states(&self) -> Result<Vec<NodeState>> {
        let rows: Vec<NodeRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select stack, node, settled, settled_at, lag_since, problem from node_state \
                 order by stack, node",
            )
            .fetch_all(pool)
            .await?
        });
        rows.into_iter()
            .map(|(stack, node, settled, settled_at, lag_since, problem)| {
                Ok(NodeState {
                    settled: parse_opt("revision", settled.as_deref())?,
                    stack,
                    node,
                    settled_at,
                    lag_since,
                    problem,
                })
            })
            .collect()
    }
}

pub(super) async fn progress(
    tx: &mut Tx,
    stack: &StackTarget,
    run: &RunId,
    progress: &NodeProgress,
    now: i64,
) -> Result<()> {
    let settled = progress.settled.as_ref().map(Revision::as_str);
    on_tx!(tx, |connection| {
        sqlx::query(
            "insert into node_state (stack, node, settled, settled_at, lag_since, problem) \
             values ($1, (select node from run where id = $2), $3, $4, $5, $6) \
             on conflict (stack, node) do update set \
             settled = coalesce(excluded.settled, node_state.settled), \
             settled_at = coalesce(excluded.settled_at, node_state.settled_at), \
             lag_since = case when excluded.problem is null then null \
             else coalesce(node_state.lag_since, excluded.lag_since) end, \
             problem = excluded.problem",
        )
        .bind(&stack.stack)
        .bind(&run.0)
        .bind(settled)
        .bind(settled.map(|_| now))
        .bind(progress.problem.as_ref().map(|_| now))
        .bind(clean_opt(progress.problem.as_deref()))
        .execute(connection)
        .await?;
    });
    Ok(())
}

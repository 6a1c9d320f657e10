//! Tokens for the API. Only the hash of a token's secret is here, and it leaves for comparison
//! alone.

use super::{
    Store,
    audit::append,
    db::clean_opt,
    error::{Error, Result, parse, unreadable},
};
use crate::domain::{
    audit::event::NewEvent,
    token::{Scope, SecretHash, Token},
};

/// How exactly the last use of a token is kept: whoever uses it all day writes once an hour.
const COARSE: i64 = 60 * 60 * 1_000_000;

impl Store {
    pub async fn create_token(&self, token: &Token, event: &NewEvent) -> Result<()> {
        let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
        let scopes = scopes.join(",");
        retrying!(async {
            let mut tx = self.begin().await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "insert into token (id, person, hash, scopes, note, created_at, expires_at) \
                     values ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(&token.id)
                .bind(&token.person)
                .bind(token.hash.bytes().to_vec())
                .bind(&scopes)
                .bind(clean_opt(token.note.as_deref()))
                .bind(token.created_at)
                .bind(token.expires_at)
                .execute(connection)
                .await?;
            });
            append(&mut tx, std::slice::from_ref(event)).await?;
            tx.commit().await
        })
    }

    pub async fn token(&self, id: &str) -> Result<Option<Token>> {
        let row: Option<TokenRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select id, person, hash, scopes, note, created_at, expires_at, revoked_at, \
                 last_used_at from token where id = $1",
            )
            .bind(id)
            .fetch_optional(pool)
            .await?
        });
        row.map(Token::try_from).transpose()
    }

    /// Every token that was ever made, newest first.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        let rows: Vec<TokenRow> = on_pool!(self, |pool| {
            sqlx::query_as(
                "select id, person, hash, scopes, note, created_at, expires_at, revoked_at, \
                 last_used_at from token order by created_at desc, id",
            )
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(Token::try_from).collect()
    }

    /// Says `false`, and records nothing, when there is no such token that is not revoked already.
    pub async fn revoke_token(&self, id: &str, at: i64, event: &NewEvent) -> Result<bool> {
        retrying!(async {
            let mut tx = self.begin().await?;
            let revoked = on_tx!(&mut tx, |connection| {
                sqlx::query("update token set revoked_at = $2 where id = $1 and revoked_at is null")
                    .bind(id)
                    .bind(at)
                    .execute(connection)
                    .await?
                    .rows_affected()
            });
            if revoked == 0 {
                tx.rollback().await?;
                return Ok(false);
            }
            append(&mut tx, std::slice::from_ref(event)).await?;
            tx.commit().await?;
            Ok(true)
        })
    }

    /// Notes that a token was used, to the hour.
    pub async fn token_used(&self, token: &Token, now: i64) -> Result<()> {
        if token.last_used_at.is_some_and(|at| now - at < COARSE) {
            return Ok(());
        }
        retrying!(async {
            let mut tx = self.begin().await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query("update token set last_used_at = $2 where id = $1")
                    .bind(&token.id)
                    .bind(now - now.rem_euclid(COARSE))
                    .execute(connection)
                    .await?;
            });
            tx.commit().await
        })
    }
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    id: String,
    person: String,
    hash: Vec<u8>,
    scopes: String,
    note: Option<String>,
    created_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl TryFrom<TokenRow> for Token {
    type Error = Error;

    fn try_from(row: TokenRow) -> Result<Self> {
        let scopes: Result<_> = row
            .scopes
            .split(',')
            .map(|scope| parse::<Scope>("scope", scope))
            .collect();
        let hash = row
            .hash
            .try_into()
            .map_err(|_| unreadable("hash of the token", &row.id))?;
        Ok(Self {
            scopes: scopes?,
            hash: SecretHash::new(hash),
            id: row.id,
            person: row.person,
            note: row.note,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        })
    }
}

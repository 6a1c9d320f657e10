//! Everything that is tested through the public interface of the crate.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod sandbox;
mod zz_oracle;
mod zz_real;

//! Places at which a test may ask the process to die, to see that nothing is lost there. Release
//! builds have none.

/// Dies without any cleaning up when `LOCKSTEP_CRASH_AT` names this place.
#[inline]
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("LOCKSTEP_CRASH_AT").is_ok_and(|wanted| wanted == name) {
        std::process::abort();
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

//! The moment a command runs.

/// The moment a command runs: read once, by the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The server's clock in unix microseconds.
    pub unix_us: u64,
}

impl Now {
    /// The server's clock in unix milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.unix_us / 1000
    }
}

//! `cmd!` and `must!`: one command whose words may be of different types.

/// A word of a command: bytes as they are, numbers in decimal.
pub(crate) trait Arg {
    /// The bytes that go over the wire.
    fn to_arg(&self) -> Vec<u8>;
}

impl<T: Arg + ?Sized> Arg for &T {
    fn to_arg(&self) -> Vec<u8> {
        (**self).to_arg()
    }
}

/// For types that are bytes already. `AsRef<[u8]>` for all would overlap with the numbers.
macro_rules! bytes {
    ($($t:ty),+) => {$(
        impl Arg for $t {
            fn to_arg(&self) -> Vec<u8> {
                AsRef::<[u8]>::as_ref(self).to_vec()
            }
        }
    )+};
}
bytes!(str, String, [u8], Vec<u8>);

impl<const N: usize> Arg for [u8; N] {
    fn to_arg(&self) -> Vec<u8> {
        self.to_vec()
    }
}

macro_rules! numbers {
    ($($t:ty),+) => {$(
        impl Arg for $t {
            fn to_arg(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }
        }
    )+};
}
numbers!(i32, i64, u16, u32, u64, u128, usize);

/// The words of a command as an array of `Vec<u8>`: `conn.send(&args!["EVQ.CONSUME", 3])`.
macro_rules! args {
    ($($arg:expr),+ $(,)?) => {
        [$($crate::harness::Arg::to_arg(&$arg)),+]
    };
}

/// Sends one command and reads its reply, an error reply included: `cmd!(conn, "EVQ.ACK", 3, id)`.
macro_rules! cmd {
    ($conn:expr, $($arg:expr),+ $(,)?) => {
        $conn.cmd(&$crate::harness::args![$($arg),+])
    };
}

/// As `cmd!`, but an error reply fails the test.
macro_rules! must {
    ($conn:expr, $($arg:expr),+ $(,)?) => {
        $conn.must(&$crate::harness::args![$($arg),+])
    };
}

pub(crate) use {args, cmd, must};

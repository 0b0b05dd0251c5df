//! The protocol as a load generator needs it: commands encoded once before the clock runs, replies
//! walked over without building anything.

/// Encoded commands, one after the other, that a slice sends again and again.
#[derive(Default)]
pub(crate) struct Commands {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Commands {
    /// Adds one command.
    pub(crate) fn push<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        encode(&mut self.bytes, words);
        self.ends.push(self.bytes.len());
    }

    /// The number of commands.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of `count` commands from number `first` on; fewer at the end.
    pub(crate) fn slice(&self, first: usize, count: usize) -> &[u8] {
        let end_of = |n: usize| match n.min(self.ends.len()).checked_sub(1) {
            Some(last) => self.ends.get(last).copied().unwrap_or_default(),
            None => 0,
        };
        self.bytes.get(end_of(first)..end_of(first + count)).unwrap_or_default()
    }
}

/// Appends one command as an array of bulk strings.
pub(crate) fn encode<W: AsRef<[u8]>>(out: &mut Vec<u8>, words: &[W]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        let word = word.as_ref();
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// A string or a number within a reply.
pub(crate) struct Element<'a> {
    /// How many arrays it is in.
    pub(crate) depth: usize,
    /// Its place in the innermost of them.
    pub(crate) nth: usize,
    /// Its bytes; of a number its digits.
    pub(crate) text: &'a [u8],
    /// Whether it is a number.
    pub(crate) is_number: bool,
}

impl Element<'_> {
    /// Whether it is a string that begins an array: there ids stand.
    pub(crate) fn is_first(&self) -> bool {
        self.nth == 0 && self.depth > 0 && !self.is_number
    }
}

/// A walk over one reply. It goes on where it stopped when more bytes have come, so that a large
/// reply is not read again from its start with every piece.
#[derive(Default)]
pub(crate) struct Walk {
    /// How far it has come.
    pub(crate) at: usize,
    /// The arrays it is in: their lengths and how many elements are done.
    open: Vec<(usize, usize)>,
}

impl Walk {
    /// Walks on through `bytes`, which begin with the reply. True once the reply is complete. Calls
    /// `each` with each string and number.
    pub(crate) fn on(&mut self, bytes: &[u8], mut each: impl FnMut(Element<'_>)) -> bool {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(newline) = rest.iter().position(|byte| *byte == b'\n') else { return false };
            let header = rest.get(1..newline - 1).unwrap_or_default();
            let mut next = newline + 1;
            match rest.first() {
                Some(b'$') => {
                    if let Some(length) = number(header) {
                        let Some(text) = rest.get(next..next + length) else { return false };
                        if rest.len() < next + length + 2 {
                            return false;
                        }
                        next += length + 2;
                        each(self.element(text, false));
                    }
                }
                Some(b':') => each(self.element(header, true)),
                Some(b'*') => {
                    if let Some(length @ 1..) = number(header) {
                        self.at += next;
                        self.open.push((length, 0));
                        continue;
                    }
                }
                _ => {}
            }
            self.at += next;
            if self.close() {
                return true;
            }
        }
    }

    fn element<'a>(&self, text: &'a [u8], is_number: bool) -> Element<'a> {
        let nth = self.open.last().map_or(0, |(_, done)| *done);
        Element { depth: self.open.len(), nth, text, is_number }
    }

    /// One element is done, and every array that ends with it. True at the end of the reply.
    fn close(&mut self) -> bool {
        while let Some((length, done)) = self.open.last_mut() {
            *done += 1;
            if done < length {
                return false;
            }
            self.open.pop();
        }
        true
    }
}

/// A length; none for the negative one of a null.
fn number(digits: &[u8]) -> Option<usize> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| usize::from(byte - b'0'));
    digits.iter().try_fold(0, |sum: usize, byte| Some(sum * 10 + digit(byte)?))
}

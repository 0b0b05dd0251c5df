//! What an EVQ.MTRIGGER says of its events: where in its words the type, the headers and the token
//! of each stand.
//!
//! A column has one value for each event, in their order; an empty one means none.

use crate::server::api::args::Args;
use crate::server::api::ffi::raw;
use crate::server::api::text::Text;

/// Words of the command before its events: their number.
const BEFORE: usize = 1;

/// The columns of one EVQ.MTRIGGER.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// The word that names the ring.
    pub(crate) ring: Option<usize>,
    /// The word that is the type of all events.
    pub(crate) kind: Option<usize>,
    /// The first word of their types.
    pub(crate) types: Option<usize>,
    /// The field of each header, and the first word of its values.
    pub(crate) headers: Vec<(Text, usize)>,
    /// The first word of their tokens.
    pub(crate) tokens: Option<usize>,
}

impl Columns {
    /// The words that are the key and the payload of event `n`.
    pub(crate) fn event(n: usize) -> (usize, usize) {
        (BEFORE + 2 * n, BEFORE + 2 * n + 1)
    }

    /// The word that is the type of event `n`.
    pub(crate) fn kind(&self, args: &Args<'_>, n: usize) -> Option<usize> {
        self.types.map_or(self.kind, |first| value(args, first + n))
    }

    /// The headers of event `n`: the field, and the word that is the value.
    pub(crate) fn headers<'a>(
        &'a self,
        args: &'a Args<'_>,
        n: usize,
    ) -> impl Iterator<Item = (&'a Text, usize)> {
        let all = self.headers.iter();
        all.filter_map(move |(name, first)| Some((name, value(args, first + n)?)))
    }

    /// The token of event `n`.
    pub(crate) fn token<'a>(&self, args: &Args<'a>, n: usize) -> Option<&'a [u8]> {
        let word = self.tokens.and_then(|first| value(args, first + n))?;
        args.words().get(word).copied()
    }

    /// The words of an EVQ.MTRIGGER of these events only, after their number; `count` is that
    /// number as a word. Without tokens, which travel by themselves.
    pub(crate) fn words_of(
        &self,
        args: &Args<'_>,
        events: impl ExactSizeIterator<Item = usize> + Clone,
        count: &Text,
    ) -> Vec<*mut raw::RedisModuleString> {
        let columns = self.headers.len() + 3;
        let mut words = Vec::with_capacity((events.len() + 3) * (columns + 1));
        let mut add = |word: usize| words.extend(args.string(word));
        for n in events.clone() {
            let (key, payload) = Self::event(n);
            [key, payload].into_iter().for_each(&mut add);
        }
        for value in [self.ring, self.kind].into_iter().flatten() {
            [value - 1, value].into_iter().for_each(&mut add);
        }
        // A keyword, the name of a header, the number of values, the values.
        let types = self.types.map(|first| (1, first));
        let headers = self.headers.iter().map(|(_, first)| (2, *first));
        for (before, first) in types.into_iter().chain(headers) {
            words.extend((first - before - 1..first - 1).filter_map(|word| args.string(word)));
            words.push(count.raw());
            words.extend(events.clone().filter_map(|n| args.string(first + n)));
        }
        words
    }
}

/// A word that is a value; none if it is empty.
fn value(args: &Args<'_>, word: usize) -> Option<usize> {
    args.words().get(word).is_some_and(|text| !text.is_empty()).then_some(word)
}

//! Releases of the programs: which of two is newer. Knows nothing of what differs
//! between them; [`API_VERSION`](crate::API_VERSION) says whether they understand
//! each other.

/// A release, ordered by its numbers; build suffixes do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release([u64; 3]);

impl Release {
    /// Reads a release such as "0.1.0"; what is missing or no number counts as 0.
    pub fn read(text: &str) -> Self {
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.').map(|number| number.parse().unwrap_or(0));
        Self(std::array::from_fn(|_| numbers.next().unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::Release;

    #[test]
    fn releases_compare_by_number() {
        let read = Release::read;
        assert!(read("0.10.0") > read("0.9.9"));
        assert_eq!(read("1.2.3-dirty"), read("1.2.3+build"));
        assert!(read("1.0") > read("nonsense"));
    }
}

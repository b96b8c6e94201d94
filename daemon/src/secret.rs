//! Values that must not be seen: no `Display`, a redacting `Debug`, zeroed on
//! drop. Knows nothing of what they are for.

use zeroize::Zeroize;

/// A value that only [`Secret::reveal`] shows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a value out of sight.
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// Shows it, for putting it straight into a header.
    pub(crate) fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

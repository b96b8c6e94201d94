//! A JSON object as serde_json sees it: every member in order, twins included.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object.
pub struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Pairs<'a> {
    /// Reads a whole object.
    pub fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the text of a member that is there once; an error if it has twins.
    pub fn one(&self, name: &str) -> Result<Option<&'a str>, ()> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(()),
            (only, None) => Ok(only.map(|(_, value)| value.get())),
        }
    }

    /// Returns the last member of that name whose text fits.
    pub fn last_that(&self, name: &str, fits: impl Fn(&str) -> bool) -> Option<&'a str> {
        let named = self.0.iter().rev().filter(|(key, _)| key == name);
        named.map(|(_, value)| value.get()).find(|text| fits(text))
    }
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(All)
    }
}

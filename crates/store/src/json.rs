//! Typed reads and writes: values as JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Entry, LeaseId, Revision, Store, StoreError, Transaction};

impl Store {
    /// Reads one key and its JSON value; `None` when it is absent.
    ///
    /// # Errors
    /// [`StoreError::Decode`] when the value is not the JSON of a `T`; else as [`Store::get`].
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Entry<T>>, StoreError> {
        self.get(key)?.map(decode).transpose()
    }

    /// Reads all keys under the prefix and their JSON values, as [`Store::range`] does.
    ///
    /// # Errors
    /// [`StoreError::Decode`] for the first value that is not the JSON of a `T`; else as [`Store::range`].
    pub fn range_json<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<(Revision, Vec<Entry<T>>), StoreError> {
        let (revision, entries) = self.range(prefix)?;
        let entries = entries.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok((revision, entries))
    }
}

impl Transaction {
    /// [Puts](Transaction::put) the value's JSON.
    ///
    /// # Errors
    /// [`StoreError::Encode`] when the value has no JSON form.
    pub fn put_json<T: Serialize + ?Sized>(
        self,
        key: impl Into<String>,
        value: &T,
    ) -> Result<Self, StoreError> {
        let key = key.into();
        let json = encode(&key, value)?;
        Ok(self.put(key, json))
    }

    /// [Puts](Transaction::put_leased) the value's JSON under a lease.
    ///
    /// # Errors
    /// [`StoreError::Encode`] when the value has no JSON form.
    pub fn put_json_leased<T: Serialize + ?Sized>(
        self,
        key: impl Into<String>,
        value: &T,
        lease: LeaseId,
    ) -> Result<Self, StoreError> {
        let key = key.into();
        let json = encode(&key, value)?;
        Ok(self.put_leased(key, json, lease))
    }
}

fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|source| StoreError::Encode {
        key: key.to_owned(),
        source,
    })
}

pub(crate) fn decode<T: DeserializeOwned>(entry: Entry) -> Result<Entry<T>, StoreError> {
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Ok(Entry {
            key: entry.key,
            value,
            created: entry.created,
            modified: entry.modified,
        }),
        Err(source) => Err(StoreError::Decode {
            key: entry.key,
            source,
        }),
    }
}

//! What is asked of the journal: which events.

use super::error::FormError;
use super::fields::{Field, Fields};
use super::request::{ProjectRef, Target, any_instance, project};
use crate::{EventKind, InstanceId, Timestamp, VmId};

/// Events of one answer at the most, and where the request does not say.
pub const EVENTS: [usize; 2] = [1000, 100];

/// Fields of `info`.
pub(super) const FIELDS: [&str; 11] = [
    "type", "user", "project", "instance", "id", "kind", "vm", "from", "to", "after", "limit",
];

/// Which events are asked for: those of which all of this holds.
#[derive(Clone, Debug, PartialEq)]
pub struct EventsRequest {
    /// Where to look.
    pub project: Option<ProjectRef>,
    /// Whose; all of the project's or the user's where none is named.
    pub target: Option<Target<InstanceId>>,
    /// Of these kinds; of any where there is none.
    pub kinds: Vec<EventKind>,
    /// About this VM.
    pub vm: Option<VmId>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Up to this time.
    pub to: Option<Timestamp>,
    /// Behind the one with this number; the newest where absent.
    pub after: Option<u64>,
    /// How many at the most.
    pub limit: usize,
}

impl EventsRequest {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, FormError> {
        let [most, usual] = EVENTS;
        let number = |name: &str, least, most| {
            let read = |field: Field<'_>| field.integer(least, most);
            fields.given(name).map(read).transpose()
        };
        let time = |name: &str| fields.given(name).map(|field| field.moment()).transpose();
        let limit = number("limit", 1, most as u64)?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        Ok(Self {
            project: project(fields)?,
            target: any_instance(fields)?,
            kinds: kinds(fields)?,
            vm: number("vm", 1, u64::MAX)?.map(VmId),
            from: time("from")?,
            to: time("to")?,
            after: number("after", 0, u64::MAX)?,
            limit: limit.unwrap_or(usual),
        })
    }
}

/// One word or several.
fn kinds(fields: &Fields<'_>) -> Result<Vec<EventKind>, FormError> {
    let Some(field) = fields.given("kind") else {
        return Ok(Vec::new());
    };
    let choices: Vec<_> = EventKind::ALL
        .iter()
        .map(|kind| (kind.word(), *kind))
        .collect();
    match field.value.is_array() {
        true => {
            let words = field.items(choices.len())?;
            words.iter().map(|word| word.choice(&choices)).collect()
        }
        false => Ok(vec![field.choice(&choices)?]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::forms::{Order, read_request};

    fn asked(info: Value) -> Result<EventsRequest, FormError> {
        let request = json!({"action": "info", "type": "events", "info": info});
        let (.., outcome) = read_request(request.to_string().as_bytes());
        outcome.map(|request| match request.order {
            Order::ReadEvents(events) => *events,
            other => panic!("it was taken for {other:?}"),
        })
    }

    #[test]
    fn each_field_says_which_events() {
        let bare = asked(json!({})).unwrap();
        assert_eq!((bare.target, bare.limit), (None, 100));
        let full = asked(json!({
            "instance": "web", "kind": ["added", "Scaling"], "vm": 7, "from": "1970-01-01T00:00:01Z",
            "to": "1970-01-01T00:00:02Z", "after": 5, "limit": 9,
        }));
        let full = full.unwrap();
        assert_eq!(full.kinds, [EventKind::Added, EventKind::Scaling]);
        assert_eq!(
            (full.vm, full.after, full.limit),
            (Some(VmId(7)), Some(5), 9)
        );
        let span = (full.from, full.to);
        assert_eq!(span, (Some(Timestamp(1000)), Some(Timestamp(2000))));
        let one = asked(json!({"id": 3, "kind": "dns"})).unwrap();
        assert_eq!(one.kinds, [EventKind::Dns]);
        assert_eq!(one.target.unwrap().id.unwrap().value, InstanceId(3));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (field, value, path) in [
            ("kind", json!("addd"), "info.kind"),
            ("kind", json!(["added", 7]), "info.kind[1]"),
            ("vm", json!(0), "info.vm"),
            ("from", json!("today"), "info.from"),
            ("limit", json!(1001), "info.limit"),
        ] {
            let mut info = json!({});
            info[field] = value;
            assert_eq!(asked(info).unwrap_err().path, path);
        }
    }
}

//! Names that people choose, and the DNS labels that are made of them.

use super::error::{Code, FormError, quoted};
use super::fields::Field;

/// The most characters of a name.
pub const MAX_NAME_CHARS: usize = 128;
/// The most characters of a DNS label (RFC 1035, section 2.3.4).
pub const MAX_LABEL_CHARS: usize = 63;
/// The most characters of a network interface's name (the kernel's IFNAMSIZ less the final NUL).
const MAX_INTERFACE_CHARS: usize = 15;

/// A name of a user, project or instance: 1 to [`MAX_NAME_CHARS`] characters, none of them a control
/// character, no white space at either end.
pub(super) fn name(field: &Field<'_>) -> Result<String, FormError> {
    let text = field.text()?;
    let problem = if text.is_empty() {
        "an empty name".into()
    } else if text.chars().count() > MAX_NAME_CHARS {
        format!("a name of more than {MAX_NAME_CHARS} characters")
    } else if text.trim() != text {
        "a name with white space at its begin or end".into()
    } else if text.chars().any(char::is_control) {
        "a name with a control character".into()
    } else {
        return Ok(text.to_owned());
    };
    Err(FormError::new(
        Code::BadName,
        &field.path,
        format!("`{}` is {problem}", quoted(text)),
        format!("use 1 to {MAX_NAME_CHARS} printable characters"),
    ))
}

/// A name that a network interface can have.
pub(super) fn interface(field: &Field<'_>) -> Result<String, FormError> {
    let text = field.text()?;
    let fits = (1..=MAX_INTERFACE_CHARS).contains(&text.len())
        && text != "."
        && text != ".."
        && text
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%'));
    match fits {
        true => Ok(text.to_owned()),
        false => Err(FormError::new(
            Code::BadInterface,
            &field.path,
            format!("`{}` cannot be an interface's name", quoted(text)),
            format!(
                "give the name that `ip link` shows: 1 to {MAX_INTERFACE_CHARS} characters, no slash, no space"
            ),
        )),
    }
}

/// Makes one DNS label of a name: `john's project` becomes `johns-project`.
///
/// ASCII letters are put in lower case, apostrophes are dropped, every other run of characters that
/// are neither letters nor digits of ASCII becomes one hyphen, none stands at either end, and what is
/// beyond [`MAX_LABEL_CHARS`] is cut off. Of a name that leaves nothing, `fallback` is made. Two names
/// can give one label; [`free_label`] keeps them apart.
#[must_use]
pub fn label(name: &str, fallback: &str) -> String {
    let mut label = String::new();
    let mut gap = false;
    for c in name.chars().filter(|c| !is_apostrophe(*c)) {
        if !c.is_ascii_alphanumeric() {
            gap = true;
            continue;
        }
        if gap && !label.is_empty() {
            label.push('-');
        }
        gap = false;
        label.push(c.to_ascii_lowercase());
    }
    match cut(&label, MAX_LABEL_CHARS) {
        "" => fallback.to_owned(),
        label => label.to_owned(),
    }
}

/// The label of a name, with `-<id>` at its end when another has it already.
///
/// Should that be taken as well (somebody was named so), the id is appended once more, and so on:
/// each round makes a label of another shape, so that the number of rounds is bounded by the number
/// of labels that are taken.
#[must_use]
pub fn free_label(name: &str, fallback: &str, id: u64, is_taken: impl Fn(&str) -> bool) -> String {
    let mut label = label(name, fallback);
    let mut suffix = String::new();
    while is_taken(&label) {
        suffix.push_str(&format!("-{id}"));
        label = match MAX_LABEL_CHARS.checked_sub(suffix.len()) {
            Some(room) if room > 0 => format!("{}{suffix}", cut(&label, room)),
            _ => return format!("{fallback}-{id}"),
        };
    }
    label
}

/// The first `bound` characters of an ASCII label, without a hyphen at the end.
fn cut(label: &str, bound: usize) -> &str {
    label.get(..bound).unwrap_or(label).trim_end_matches('-')
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’' | '‘' | 'ʼ' | '`' | '´')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_label_is_what_dns_can_carry_of_a_name() {
        for (name, expected) in [
            ("john's project", "johns-project"),
            ("Web  (eu/1)", "web-eu-1"),
            ("--a--", "a"),
            ("müller", "m-ller"),
            ("日本", "project"),
            ("a.b_c", "a-b-c"),
        ] {
            assert_eq!(label(name, "project"), expected, "{name}");
        }
    }

    #[test]
    fn a_label_that_is_taken_gets_the_id_and_stays_within_the_bound() {
        assert_eq!(free_label("web", "instance", 7, |l| l == "web"), "web-7");
        let long = "x".repeat(70);
        let taken = label(&long, "instance");
        let free = free_label(&long, "instance", 12, |l| l == taken);
        assert_eq!(free, format!("{}-12", "x".repeat(60)));
        let taken = ["web", "web-7"];
        assert!(
            !taken.contains(&free_label("web", "instance", 7, |l| taken.contains(&l)).as_str())
        );
    }

    proptest! {
        #[test]
        fn every_name_gives_a_valid_label(name in "\\PC{0,90}", id in 1u64.., taken in any::<bool>()) {
            let first = label(&name, "project");
            let label = free_label(&name, "project", id, |l| taken && l == first);
            prop_assert!((1..=MAX_LABEL_CHARS).contains(&label.len()));
            prop_assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            prop_assert!(!label.starts_with('-') && !label.ends_with('-'));
            prop_assert!(!taken || label != first);
        }
    }
}

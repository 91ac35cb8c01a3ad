//! Which of collectd's figures are kept of a host: those that say how a host fares, of plugins that nearly everybody
//! has. All others are left out, so that nobody's plugins fill the log.

use collectd::ValueList;

/// Bytes of the name of an interface or a file system.
const MOST_NAME: usize = 64;

/// Whether a list is kept.
pub(super) fn is_known(list: &ValueList) -> bool {
    let (of, which) = (&*list.plugin_instance, &*list.kind_instance);
    let values = list.values.len();
    match (&*list.plugin, &*list.kind) {
        // What is not idle is told from what is: so it is one figure for each processor.
        ("cpu", "cpu" | "percent") => {
            let is_processor = of.len() <= 4 && of.bytes().all(|byte| byte.is_ascii_digit());
            is_processor && ["idle", "active"].contains(&which) && values == 1
        }
        ("load", "load") => of.is_empty() && which.is_empty() && values == 3,
        ("memory", "memory") => {
            let parts = ["used", "free", "buffered", "cached"];
            of.is_empty() && parts.contains(&which) && values == 1
        }
        ("interface", "if_octets") => is_name(of) && of != "lo" && which.is_empty() && values == 2,
        ("df", "df_complex" | "percent_bytes") => {
            is_name(of) && ["used", "free", "reserved"].contains(&which) && values == 1
        }
        _ => false,
    }
}

fn is_name(name: &str) -> bool {
    let is_sound = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    (1..=MOST_NAME).contains(&name.len()) && name.bytes().all(is_sound)
}

#[cfg(test)]
mod tests {
    use collectd::Value;

    use super::*;

    #[test]
    fn what_says_how_a_host_fares_is_known_and_nothing_else() {
        let long = "x".repeat(65);
        for (plugin, of, kind, which, values, expected) in [
            ("cpu", "0", "cpu", "idle", 1, true),
            ("cpu", "", "percent", "active", 1, true),
            ("cpu", "0", "cpu", "user", 1, false),
            ("cpu", "web", "cpu", "idle", 1, false),
            ("load", "", "load", "", 3, true),
            ("load", "", "load", "", 2, false),
            ("memory", "", "memory", "used", 1, true),
            ("memory", "", "memory", "slab_recl", 1, false),
            ("interface", "eth0", "if_octets", "", 2, true),
            ("interface", "lo", "if_octets", "", 2, false),
            ("interface", "a/b", "if_octets", "", 2, false),
            ("interface", &long, "if_octets", "", 2, false),
            ("interface", "eth0", "if_packets", "", 2, false),
            ("df", "root", "df_complex", "used", 1, true),
            ("df", "root", "percent_bytes", "used", 1, true),
            ("df", "root", "df_inodes", "used", 1, false),
            ("evenkeel", "", "derive", "requests", 1, false),
            ("processes", "", "ps_state", "running", 1, false),
        ] {
            let list = ValueList {
                host: "h".into(),
                plugin: plugin.into(),
                plugin_instance: of.into(),
                kind: kind.into(),
                kind_instance: which.into(),
                values: vec![Value::Gauge(1.0); values],
                ..ValueList::default()
            };
            assert_eq!(is_known(&list), expected, "{list}");
        }
    }
}

//! DNS servers that nobody here wrote find our names with the settings that the documents give for them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use end_to_end::{Driver, Evenkeel, Host, Running, Web, eventually};
use serde_json::json;

const PAGE: &str = "docs/how-to/dns.md";
/// The key by which the root of DNS is signed, as resolvers have it: what says that there is no `.test`.
const ROOT_KEY: &str =
    ". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";

/// The settings below a heading of the page, in their order.
fn told(heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let page = fs::read_to_string(path).expect("the page is there");
    let (_, below) = page
        .split_once(&format!("\n## {heading}\n"))
        .expect("the page has the heading");
    let section = below.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```text\n").skip(1);
    let text = |block: &str| block.split("```").next().unwrap_or_default().to_owned();
    blocks.map(text).collect()
}

fn write(host: &Host, name: &str, text: &str) -> String {
    let path = host.path(name);
    fs::write(&path, text).expect("the host's directory can be written");
    path.display().to_string()
}

fn unbound(host: &Host, port: u16) -> Running<'_> {
    let [settings] = told("Unbound").try_into().expect("it has one file");
    let directory = host.directory().display();
    let settings = write(host, "unbound-told.conf", &settings);
    let config = write(
        host,
        "unbound.conf",
        &format!(
            "server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  \
             pidfile: \"\"\n  directory: \"{directory}\"\n  use-syslog: no\n  trust-anchor: \"{ROOT_KEY}\"\n\
             remote-control:\n  control-enable: no\ninclude: \"{settings}\"\n"
        ),
    );
    host.shell(&format!("unbound-checkconf {config}"));
    host.start("unbound", "unbound", &["-c", &config])
}

fn bind(host: &Host, port: u16) -> Running<'_> {
    let [zone, option] = told("BIND").try_into().expect("a zone and an option");
    let directory = host.directory().display();
    let config = write(
        host,
        "named.conf",
        &format!(
            "options {{ directory \"{directory}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
             pid-file none; session-keyfile \"{directory}/session.key\"; dnssec-validation auto;\n{option} }};\n\
             controls {{ }};\n{zone}"
        ),
    );
    host.shell(&format!("named-checkconf {config}"));
    host.start("named", "named", &["-f", "-g", "-c", &config])
}

fn dnsmasq(host: &Host, port: u16) -> Running<'_> {
    let [settings] = told("dnsmasq").try_into().expect("it has one file");
    let config = write(
        host,
        "dnsmasq.conf",
        &format!(
            "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\npid-file\nuser=root\n{settings}"
        ),
    );
    host.start(
        "dnsmasq",
        "dnsmasq",
        &["--keep-in-foreground", &format!("--conf-file={config}")],
    )
}

/// The addresses that the resolver at this port gives.
fn asked(host: &Host, port: u16, name: &str) -> BTreeSet<String> {
    let question = format!("dig +short +time=2 +tries=1 @127.0.0.1 -p {port} {name} A");
    let said = host.try_shell(&question).stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn resolvers_with_the_settings_of_the_documents_find_a_name_and_follow_its_changes() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 1);
    let resolvers = [
        (5301, unbound(&host, 5301)),
        (5302, bind(&host, 5302)),
        (5303, dnsmasq(&host, 5303)),
    ];
    let find_what_there_is = |what: &str| {
        for (port, _running) in &resolvers {
            eventually(&format!("the resolver at {port} finds {what}"), || {
                let (found, expected) = (asked(&host, *port, &web.name), web.dig()?);
                match found == expected && !found.is_empty() {
                    true => Ok(()),
                    false => Err(format!("{found:?}, not {expected:?}")),
                }
            });
        }
    };
    find_what_there_is("the name");
    let more = json!({ "project": "p", "name": "web", "auto-scaling": { "min": 2, "max": 2 } });
    evenkeel.door().do_("update", "instance", more);
    eventually("there are two addresses", || match web.dig()?.len() {
        2 => Ok(()),
        other => Err(other.to_string()),
    });
    find_what_there_is("both addresses");
}

//! The tutorial, typed from its first command to its last on a host that is new.

use end_to_end::{Host, Reader, install};

#[test]
fn every_command_of_the_tutorial_does_what_it_says() {
    let host = Host::new();
    install(&host);
    let typed = Reader::new(&host).types("docs/tutorial.md");
    assert!(typed > 25, "only {typed} blocks were found");
    let left = host.shell("ip -brief link; ip netns; nft list tables; ls /run/evenkeel/vms");
    assert!(!left.contains("ek"), "something of it is left:\n{left}");
}

//! The monitor's ear for users' own collectd: takes what hosts of backends send, and has it kept.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ::monitor::{HostIntake, HostKeeper, HostProject, Tally};
use model::ProjectId;
use store::intent::{INTENT, read_intent};
use store::layout::{LAYOUT_PREFIX, read_layout};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info};

use super::Shared;
use super::config::{CollectdSection, exposed};
use super::monitor::{Clock, DATAGRAM_BYTES};
use super::receiver::Receiver;
use super::refusals::Refusals;
use super::trouble::Trouble;

/// Whose packets are refused, in what is told of it.
const SENDERS: &str = "hosts";
/// Between two looks at what there is, and two tellings.
const LOOK: Duration = Duration::from_secs(1);
/// One in so many of a project's series may be its hosts'.
const SHARE: usize = 5;
/// Between two attempts to listen.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes figures for as long as it is polled, if the configuration says where. What stands in the way is told, and tried
/// again: the VMs' figures have nothing to do with it.
pub(super) async fn take(shared: Shared, keeper: HostKeeper, tally: Tally) -> Infallible {
    let mut trouble = Trouble::new(shared.status.clone(), "monitor/hosts");
    let mut refusals = Refusals::new(shared.status.clone(), SENDERS);
    let Some(listen) = shared.config.collectd.listen else {
        // Nor is anything wrong any more that an earlier process told under another configuration.
        trouble.tell(None);
        refusals.tell(&BTreeMap::new());
        return std::future::pending().await;
    };
    let mut receiver = bind(listen, &mut trouble).await;
    let (mut intents, mut layouts) = (
        shared.store.watch(INTENT),
        shared.store.watch(LAYOUT_PREFIX),
    );
    let most = shared.config.monitor.most_series_per_project / SHARE;
    let mut knowledge = Knowledge::new(&shared.config.collectd, most);
    let (clock, mut looks) = (Clock::start(), interval(LOOK));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        tokio::select! {
            received = receiver.receive(&mut buffer) => {
                if let Ok((length, from)) = received
                    && let IpAddr::V4(from) = from.ip()
                    && let Some(intake) = &mut knowledge.intake
                {
                    let packet = buffer.get(..length).unwrap_or_default();
                    match intake.take(packet, from, clock.now()) {
                        Ok(taken) => taken.into_iter().for_each(|taken| keeper.keep(taken)),
                        Err(refusal) => debug!(%from, %refusal, "figures of a host are refused"),
                    }
                }
            }
            () = intents.changed() => knowledge.knows_projects = false,
            () = layouts.changed() => knowledge.knows_projects = false,
            _ = looks.tick() => {
                trouble.tell(knowledge.renew(|| projects(&shared)));
                if let Some(intake) = &mut knowledge.intake {
                    intake.set_unread(receiver.dropped());
                    tally.set_refused_of_hosts(intake.refused());
                    tally.set_unused_of_hosts(intake.unused());
                    refusals.tell(intake.refused());
                }
            }
        }
    }
}

/// Listens as soon as it can.
async fn bind(listen: SocketAddrV4, trouble: &mut Trouble) -> Receiver {
    loop {
        match Receiver::bind(listen).await {
            Ok(receiver) => {
                info!(%listen, "figures of backends' hosts are taken in");
                return receiver;
            }
            Err(error) => trouble.tell(Some(format!(
                "no figures of backends' hosts are taken in: UDP {listen}: {error}"
            ))),
        }
        sleep(PAUSE).await;
    }
}

/// Who may send, as it was when it could last be read: a file that is being written anew, or a store that fails, ends
/// nothing and makes nobody forgotten.
struct Knowledge<'c> {
    section: &'c CollectdSection,
    /// Figures that are kept of all hosts of one project.
    most_of_project: usize,
    /// Nobody is heard before it was read once by whom what must be signed.
    intake: Option<HostIntake>,
    /// The file of passwords that was read last.
    read: Option<Version>,
    /// The one that was there at the last look.
    seen: Option<Version>,
    knows_projects: bool,
}

impl<'c> Knowledge<'c> {
    fn new(section: &'c CollectdSection, most_of_project: usize) -> Self {
        Self {
            section,
            most_of_project,
            intake: None,
            read: None,
            seen: None,
            knows_projects: false,
        }
    }

    /// Reads what may have changed, and says what cannot be read.
    fn renew(&mut self, projects: impl FnOnce() -> anyhow::Result<Projects>) -> Option<String> {
        let mut wrong = self.renew_rules().err().map(|error| match &self.intake {
            Some(_) => format!("{error:#}; the passwords hold that were read before"),
            None => format!(
                "{error:#}; until it can be read, no figures of backends' hosts are taken in"
            ),
        });
        if let Some(intake) = &mut self.intake
            && !self.knows_projects
        {
            match projects() {
                Ok(projects) => {
                    intake.set_projects(&projects);
                    self.knows_projects = true;
                }
                Err(error) => {
                    wrong = Some(format!(
                        "it cannot be read which backends there are, whose hosts may send figures: {error:#}"
                    ));
                }
            }
        }
        let auth_file = self.section.auth_file.as_deref();
        wrong.or_else(|| auth_file.and_then(exposed))
    }

    /// Reads the passwords anew when their file was written since, and was the same at two looks: one that is written in
    /// place has lost users for a moment. Of one that stays empty it is believed that it has none. The first is read at
    /// once, for nobody is known before.
    fn renew_rules(&mut self) -> anyhow::Result<()> {
        let version = Version::of(self.section.auth_file.as_deref());
        let before = std::mem::replace(&mut self.seen, version);
        let is_written = version.is_some() && version != before;
        if self.intake.is_some() && (version == self.read || is_written) {
            return Ok(());
        }
        let rules = self.section.rules(self.most_of_project)?;
        match &mut self.intake {
            Some(intake) => intake.set_rules(rules),
            // The clock that tells when something comes began with the monitor.
            None => self.intake = Some(HostIntake::new(rules, Duration::ZERO)),
        }
        self.read = version;
        Ok(())
    }
}

/// By what a file that was changed is known: when it was written, and how long it is.
#[derive(Clone, Copy, PartialEq)]
struct Version {
    written_at: SystemTime,
    bytes: u64,
}

impl Version {
    /// Of the file that is there, if one is.
    fn of(path: Option<&Path>) -> Option<Self> {
        let metadata = std::fs::metadata(path?).ok()?;
        Some(Self {
            written_at: metadata.modified().ok()?,
            bytes: metadata.len(),
        })
    }
}

/// Each project's hosts.
type Projects = BTreeMap<ProjectId, HostProject>;

/// Where each project's backends are, host names among them resolved.
fn projects(shared: &Shared) -> anyhow::Result<Projects> {
    let (_, intent) = read_intent(&shared.store)?;
    let layout = read_layout(&shared.store)?.layout;
    let mut projects = BTreeMap::new();
    for of in layout.instances.values() {
        let Some(project) = intent.projects.get(&of.project) else {
            continue;
        };
        let known = projects.entry(of.project).or_insert_with(|| HostProject {
            label: project.label.clone(),
            backends: Default::default(),
        });
        let backends = of.config.backends.iter();
        known
            .backends
            .extend(backends.map(|backend| backend.address));
    }
    Ok(projects)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    use anyhow::bail;
    use collectd::{Key, PacketWriter, Time, Value, ValueList, seal_encrypted};

    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 10);

    fn shop() -> anyhow::Result<Projects> {
        let shop = HostProject {
            label: "shop".into(),
            backends: [FROM].into(),
        };
        Ok([(ProjectId(1), shop)].into())
    }

    /// A packet of a second, encrypted with a password.
    fn packet(second: u64, password: &str) -> Vec<u8> {
        let mut writer = PacketWriter::new(1_024);
        let list = ValueList {
            host: "db".into(),
            plugin: "memory".into(),
            kind: "memory".into(),
            kind_instance: "used".into(),
            time: Time::from_secs(second),
            interval: Time::from_secs(1),
            values: vec![Value::Gauge(1.0)],
            ..ValueList::default()
        };
        assert!(writer.add(&list).is_none());
        let key = Key {
            user: "shop".into(),
            password: password.into(),
        };
        seal_encrypted(&writer.take().unwrap(), &key, [1; 16])
    }

    /// Each turn is a look, with what is in the file by then, the second at which that was written, and whether a host with
    /// the password is heard after it.
    #[test]
    fn a_file_that_is_written_in_place_makes_nobody_forgotten_and_one_that_stays_empty_everybody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let section = CollectdSection {
            auth_file: Some(path.clone()),
            ..CollectdSection::default()
        };
        let mut knowledge = Knowledge::new(&section, 100);
        let (whole, other) = ("shop: one\nbank: two\n", "bank: two\n");
        for (second, (written, at, is_heard)) in (1_000..).zip([
            (whole, 1, true),
            ("", 2, true),
            (other, 3, true),
            (whole, 4, true),
            (whole, 4, true),
            (other, 5, true),
            (other, 5, false),
            (whole, 6, false),
            (whole, 6, true),
            ("", 7, true),
            ("", 7, false),
        ]) {
            fs::write(&path, written).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at))
                .unwrap();
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .unwrap();
            assert_eq!(knowledge.renew(shop), None, "{second}");
            let now = ::monitor::Moment {
                monotonic: Duration::from_secs(second),
                wall: Duration::from_secs(second),
            };
            let intake = knowledge.intake.as_mut().unwrap();
            let taken = intake.take(&packet(second, "one"), FROM, now);
            assert_eq!(taken.is_ok(), is_heard, "{second}: {written}");
        }
    }

    #[test]
    fn who_was_known_stays_known_while_passwords_or_projects_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let section = CollectdSection {
            auth_file: Some(path.clone()),
            ..CollectdSection::default()
        };
        let mut knowledge = Knowledge::new(&section, 100);
        let told = knowledge.renew(shop).unwrap();
        assert!(
            told.contains("no figures") && told.contains("passwords"),
            "{told}"
        );
        assert!(knowledge.intake.is_none(), "nobody is heard yet");

        let write = |password: &str, at: u64| {
            let new = directory.path().join("new");
            fs::write(&new, format!("shop: {password}\n")).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            let file = fs::File::open(&new).unwrap();
            file.set_modified(at).unwrap();
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .unwrap();
            fs::rename(&new, &path).unwrap();
        };
        let mut second = 1_000;
        let mut hears = |knowledge: &mut Knowledge<'_>, password: &str| {
            second += 1;
            let now = ::monitor::Moment {
                monotonic: Duration::from_secs(second),
                wall: Duration::from_secs(second),
            };
            let intake = knowledge.intake.as_mut().unwrap();
            intake.take(&packet(second, password), FROM, now).is_ok()
        };
        write("one", 1);
        assert_eq!(knowledge.renew(shop), None);
        assert!(hears(&mut knowledge, "one"));

        fs::remove_file(&path).unwrap();
        let told = knowledge.renew(shop).unwrap();
        assert!(told.contains("were read before"), "{told}");
        assert!(hears(&mut knowledge, "one"));
        // The same file comes back, or another one.
        write("one", 1);
        assert_eq!(knowledge.renew(shop), None);
        write("two", 2);
        (0..2).for_each(|_| assert_eq!(knowledge.renew(shop), None));
        assert!(!hears(&mut knowledge, "one") && hears(&mut knowledge, "two"));

        knowledge.knows_projects = false;
        let told = knowledge.renew(|| bail!("the store is locked")).unwrap();
        assert!(told.contains("the store is locked"), "{told}");
        assert!(hears(&mut knowledge, "two"));
        assert_eq!(knowledge.renew(|| Ok(Projects::new())), None);
        assert!(!hears(&mut knowledge, "two"), "the project is gone");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let told = knowledge.renew(shop).unwrap();
        assert!(told.contains("the mode 0640"), "{told}");
    }
}

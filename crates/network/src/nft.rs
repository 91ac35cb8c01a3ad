//! Runs `nft` inside a namespace.
//!
//! Rules are handed over as one script, which `nft` applies as one transaction: all of it or nothing.
//! Everything in a script comes from typed values (ids, MACs, addresses) and checked names, never from a
//! user's text.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::NetworkError;
use crate::namespace::Namespace;

/// How long one run may take. It needs 3 to 20 ms.
const NFT_WAIT: Duration = Duration::from_secs(10);

/// Where `nft` may be, beside the directories of `PATH`, which often lacks those of administrators' tools.
const ADMINISTRATORS_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The program.
#[derive(Clone, Debug)]
pub(crate) struct Nft {
    program: PathBuf,
}

/// How a run ended that was no failure to run.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Done, with what it printed.
    Done(String),
    /// Nothing was changed, because the script creates what is there.
    Exists,
    /// Nothing was changed, because the script names what is not there.
    Absent,
}

impl Nft {
    /// Looks for the program.
    pub(crate) fn find() -> Result<Self, NetworkError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(ADMINISTRATORS_DIRECTORIES.map(PathBuf::from))
            .map(|directory| directory.join("nft"))
            .find(|candidate| candidate.is_file())
            .map(|program| Self { program })
            .ok_or_else(|| NetworkError::Firewall {
                action: "find the program `nft`".into(),
                message: "it is neither in PATH nor in /usr/sbin: install the package `nftables`"
                    .into(),
            })
    }

    /// Applies a script, whole or not at all.
    pub(crate) async fn apply(
        &self,
        namespace: &Namespace,
        action: &str,
        script: String,
    ) -> Result<Outcome, NetworkError> {
        let arguments = vec!["-f".into(), "-".into()];
        let outcome = self.run(namespace, action, arguments, script).await;
        tracing::trace!(target: model::STEP, "network: {action}");
        outcome
    }

    /// Prints what `object` names, for example `map bridge ek ports`, as JSON.
    pub(crate) async fn list(
        &self,
        namespace: &Namespace,
        object: &str,
    ) -> Result<Outcome, NetworkError> {
        let arguments = ["-j", "list"].into_iter().chain(object.split(' '));
        let arguments = arguments.map(str::to_owned).collect();
        self.run(
            namespace,
            &format!("list {object}"),
            arguments,
            String::new(),
        )
        .await
    }

    async fn run(
        &self,
        namespace: &Namespace,
        action: &str,
        arguments: Vec<String>,
        input: String,
    ) -> Result<Outcome, NetworkError> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            // `outcome` reads the C library's words for two errors.
            .env("LC_ALL", "C")
            .current_dir(Path::new("/"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A child starts in the namespace of the thread that starts it.
        let mut child = namespace
            .enter("start nft", move || command.spawn())
            .await?;
        let stdin = child.stdin.take();
        let talk = async {
            if let Some(mut stdin) = stdin {
                stdin.write_all(input.as_bytes()).await?;
            }
            child.wait_with_output().await
        };
        let action = format!("{action} in {namespace}");
        match tokio::time::timeout(NFT_WAIT, talk).await {
            Ok(Ok(output)) => outcome(action, &output),
            Ok(Err(e)) => Err(NetworkError::Firewall {
                action,
                message: format!("nft: {e}"),
            }),
            Err(_) => Err(NetworkError::TimedOut {
                action,
                after: NFT_WAIT,
            }),
        }
    }
}

fn outcome(action: String, output: &Output) -> Result<Outcome, NetworkError> {
    if output.status.success() {
        return Ok(Outcome::Done(
            String::from_utf8_lossy(&output.stdout).into_owned(),
        ));
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("File exists") {
        Ok(Outcome::Exists)
    } else if complaint.contains("No such file or directory") {
        Ok(Outcome::Absent)
    } else {
        Err(NetworkError::Firewall {
            action,
            message: format!("nft ended with {}: {}", output.status, complaint.trim()),
        })
    }
}

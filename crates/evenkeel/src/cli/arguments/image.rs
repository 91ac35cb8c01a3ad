//! `evenkeel image …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::examples;

/// Build the image that VMs are started from.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    Build(ImageBuild),
}

/// Build the image that VMs are started from: a kernel, its modules, the balancer, and collectd.
#[derive(Args, Debug)]
#[command(after_help = examples::IMAGE_BUILD)]
pub struct ImageBuild {
    /// A kernel package of Debian, which is not installed [default: the newest, downloaded by apt-get].
    #[arg(long, value_name = "FILE.deb")]
    pub kernel_package: Option<PathBuf>,
    /// A kernel of your own, in place of a package.
    #[arg(
        long,
        value_name = "VMLINUZ",
        requires = "modules",
        conflicts_with = "kernel_package"
    )]
    pub kernel: Option<PathBuf>,
    /// The directory with that kernel's modules: /lib/modules/VERSION.
    #[arg(long, value_name = "DIR", requires = "kernel")]
    pub modules: Option<PathBuf>,
    /// The balancer, linked statically [default: evenkeel-balancer beside this program].
    #[arg(long, value_name = "PROGRAM")]
    pub balancer: Option<PathBuf>,
    /// A directory with the Debian packages collectd-core, libc6, libcap2, libgcrypt20 and libgpg-error0
    /// [default: the newest, downloaded by apt-get].
    #[arg(long, value_name = "DIR")]
    pub collectd_packages: Option<PathBuf>,
    /// Leave collectd out: balancers send their own figures then, and nothing of the machine.
    #[arg(long, conflicts_with = "collectd_packages")]
    pub no_collectd: bool,
    /// Where to put the image.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/evenkeel/image")]
    pub output: PathBuf,
}

//! `evenkeel project …`

use clap::{Args, Subcommand};

use super::{Document, Existing, Owner, Waiting};
use crate::cli::examples;

/// Make, show, change and delete projects.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    Create(ProjectCreate),
    List(ProjectList),
    Info(ProjectInfo),
    Update(ProjectUpdate),
    Delete(ProjectDelete),
}

/// Make a project: a network of its own, in which instances and their backends live.
#[derive(Args, Debug)]
#[command(after_help = examples::PROJECT_CREATE)]
pub struct ProjectCreate {
    /// Its name; `default` when left out.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub owner: Owner,
    /// Take the project from a JSON file, its instances included; `-` reads standard input.
    #[arg(short, long, value_name = "FILE|-")]
    pub file: Option<Document>,
    #[command(flatten)]
    pub waiting: Waiting,
}

/// List your projects.
#[derive(Args, Debug)]
#[command(visible_alias = "ls", after_help = examples::PROJECT_LIST)]
pub struct ProjectList {
    #[command(flatten)]
    pub owner: Owner,
}

/// Show a project and its instances.
#[derive(Args, Debug)]
#[command(visible_alias = "show", after_help = examples::PROJECT_INFO)]
pub struct ProjectInfo {
    #[command(flatten)]
    pub existing: Existing,
    #[command(flatten)]
    pub owner: Owner,
}

/// Give a project another name.
#[derive(Args, Debug)]
#[command(after_help = examples::PROJECT_UPDATE)]
pub struct ProjectUpdate {
    #[command(flatten)]
    pub existing: Existing,
    /// The name that it is to have.
    #[arg(long, value_name = "NAME")]
    pub new_name: String,
    #[command(flatten)]
    pub owner: Owner,
}

/// Delete a project.
#[derive(Args, Debug)]
#[command(visible_alias = "rm", after_help = examples::PROJECT_DELETE)]
pub struct ProjectDelete {
    #[command(flatten)]
    pub existing: Existing,
    /// Delete its instances too; without this, a project that has some is left alone.
    #[arg(long)]
    pub cascade: bool,
    #[command(flatten)]
    pub owner: Owner,
    #[command(flatten)]
    pub waiting: Waiting,
}

//! Users and groups by name or number, as this host knows them.
//!
//! Names may come from a server far away, so a question can take a while: it is for a start or for the reading of a
//! configuration, not for serving.

/// Why a user or group is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// There is none of that name.
    #[error("there is no {what} `{name}` on this host")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// The host can't say.
    #[error("whether there is a {what} `{name}` can't be found out: {reason}")]
    System {
        /// `user` or `group`.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// What the system said.
        reason: String,
    },
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// Its own group; `None` for a number that no name belongs to.
    pub gid: Option<u32>,
    /// All groups that it is in.
    pub groups: Vec<u32>,
}

impl User {
    fn of(user: &nix::unistd::User) -> Self {
        let name = std::ffi::CString::new(user.name.as_str()).unwrap_or_default();
        let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
        Self {
            uid: user.uid.as_raw(),
            gid: Some(user.gid.as_raw()),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
        }
    }
}

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub gid: u32,
}

/// The user of a name, or of a number, for which there need not be a name.
///
/// # Errors
/// [`AccountError`].
pub fn user(name: &str) -> Result<User, AccountError> {
    if let Ok(uid) = name.parse() {
        let known = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
        let nameless = User { uid, gid: None, groups: Vec::new() };
        return Ok(known.as_ref().map_or(nameless, User::of));
    }
    let found = nix::unistd::User::from_name(name);
    known("user", name, found).map(|user| User::of(&user))
}

/// The group of a name, or of a number, for which there need not be a name.
///
/// # Errors
/// [`AccountError`].
pub fn group(name: &str) -> Result<Group, AccountError> {
    if let Ok(gid) = name.parse() {
        return Ok(Group { gid });
    }
    let found = nix::unistd::Group::from_name(name);
    known("group", name, found).map(|group| Group { gid: group.gid.as_raw() })
}

fn known<T>(what: &'static str, name: &str, found: nix::Result<Option<T>>) -> Result<T, AccountError> {
    match found {
        Ok(Some(account)) => Ok(account),
        Ok(None) => Err(AccountError::Unknown { what, name: name.to_owned() }),
        Err(errno) => {
            Err(AccountError::System { what, name: name.to_owned(), reason: errno.desc().to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_number() {
        let root = user("root").expect("every host has it");
        assert_eq!((root.uid, root.gid), (0, Some(0)));
        assert!(root.groups.contains(&0));
        assert_eq!(user("0"), Ok(root));
        assert_eq!(user("4000000001"), Ok(User { uid: 4_000_000_001, gid: None, groups: Vec::new() }));
        assert_eq!((group("root"), group("70000")), (Ok(Group { gid: 0 }), Ok(Group { gid: 70_000 })));
        for error in [user("no such user").map(drop), group("no such user").map(drop)] {
            let told = error.expect_err("nobody has that name").to_string();
            assert!(
                told.starts_with("there is no ") && told.ends_with("`no such user` on this host"),
                "{told}"
            );
        }
    }
}

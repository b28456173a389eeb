//! The built-in credential stores: paths that stay unreadable under every policy unless `filesystem.allowRead` names
//! them or something inside them. One place, each with its reason.

/// A path where secrets are kept: below the home folder, or the machine's own, which root can read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store {
    /// As a settings file would write it.
    pub(crate) path: &'static str,
    /// What is kept there.
    pub(crate) reason: &'static str,
    /// Where it exists.
    pub(crate) on: On,
}

/// The systems on which a store is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Both,
    Linux,
    Macos,
}

/// The stores of one system.
pub(crate) fn stores(macos: bool) -> impl Iterator<Item = &'static Store> {
    let other = if macos { On::Linux } else { On::Macos };
    STORES.iter().filter(move |store| store.on != other)
}

const fn both(path: &'static str, reason: &'static str) -> Store {
    Store {
        path,
        reason,
        on: On::Both,
    }
}

const fn linux(path: &'static str, reason: &'static str) -> Store {
    Store {
        path,
        reason,
        on: On::Linux,
    }
}

const fn macos(path: &'static str, reason: &'static str) -> Store {
    Store {
        path,
        reason,
        on: On::Macos,
    }
}

const BROWSER: &str = "a browser's cookies, sessions and saved passwords";
const MAIL: &str = "mail and the passwords of mail accounts";
const KEYRING: &str = "the user's keyring";
const PASSWORDS: &str = "a password manager's vault or session";
const WALLET: &str = "keys of a wallet";
const REGISTRY: &str = "tokens that publish packages";
const DATABASE: &str = "passwords of databases";
const ASSISTANT: &str = "an AI tool's tokens, settings and transcripts";
const HISTORY: &str = "commands as typed, passwords among them";

#[rustfmt::skip]
const STORES: &[Store] = &[
    both("/etc/shadow", "password hashes of the machine's users"),
    both("/etc/shadow-", "password hashes of the machine's users"),
    both("/etc/gshadow", "password hashes of the machine's groups"),
    both("/etc/gshadow-", "password hashes of the machine's groups"),
    both("/etc/sudoers", "who may become whom on this machine"),
    both("/etc/sudoers.d", "who may become whom on this machine"),
    both("/etc/ssh/ssh_host_rsa_key", "the machine's own ssh key"),
    both("/etc/ssh/ssh_host_ecdsa_key", "the machine's own ssh key"),
    both("/etc/ssh/ssh_host_ed25519_key", "the machine's own ssh key"),
    both("/etc/ssl/private", "private keys of the machine's services"),
    both("/etc/kubernetes", "keys of the cluster that the machine is in"),
    // Keys and sign-ins of the person.
    both("~/.ssh", "private SSH keys"),
    both("~/.gnupg", "private PGP keys"),
    both("~/.pki", "private keys and certificates of NSS"),
    both("~/.netrc", "passwords of hosts, read by curl, git and ftp"),
    both("~/.git-credentials", "git's stored passwords"),
    both("~/.config/git/credentials", "git's stored passwords"),
    both("~/.config/gh", "GitHub's command-line token"),
    both("~/.config/glab-cli", "GitLab's command-line token"),
    both("~/.config/hub", "GitHub's command-line token"),
    both("~/.password-store", PASSWORDS),
    both("~/.config/op", PASSWORDS),
    both("~/.config/1Password", PASSWORDS),
    both("~/.config/Bitwarden", PASSWORDS),
    both("~/.config/Bitwarden CLI", PASSWORDS),
    both("~/.config/keepassxc", PASSWORDS),
    both("~/.config/sops", "keys that decrypt secrets files"),
    both("~/.config/age", "keys that decrypt secrets files"),

    // Clouds and clusters.
    both("~/.aws", "AWS access keys and sessions"),
    both("~/.azure", "Azure tokens"),
    both("~/.config/gcloud", "Google Cloud tokens"),
    both("~/.oci", "Oracle Cloud keys"),
    both("~/.config/doctl", "DigitalOcean's token"),
    both("~/.config/hcloud", "Hetzner Cloud's token"),
    both("~/.fly", "Fly.io's token"),
    both("~/.config/heroku", "Heroku's token"),
    both("~/.config/.wrangler", "Cloudflare's token"),
    both("~/.wrangler", "Cloudflare's token"),
    both("~/.config/configstore", "tokens of npm-installed command-line tools"),
    both("~/.kube", "cluster certificates and tokens"),
    both("~/.docker", "registry passwords"),
    both("~/.config/containers/auth.json", "registry passwords"),
    both("~/.config/helm", "chart repositories' passwords"),
    both("~/.terraform.d", "Terraform Cloud's token"),
    both("~/.terraformrc", "Terraform Cloud's token"),
    both("~/.pulumi", "Pulumi's token"),
    both("~/.vault-token", "Vault's token"),
    both("~/.databrickscfg", "Databricks' token"),
    both("~/.snowflake", "Snowflake's keys and passwords"),
    both("~/.config/rclone", "passwords of remote stores"),
    both("~/.s3cfg", "keys of S3 stores"),
    both("~/.boto", "AWS and Google Cloud keys"),

    // Package registries.
    both("~/.npmrc", REGISTRY),
    both("~/.yarnrc.yml", REGISTRY),
    both("~/.pypirc", REGISTRY),
    both("~/.cargo/credentials", REGISTRY),
    both("~/.cargo/credentials.toml", REGISTRY),
    both("~/.gem/credentials", REGISTRY),
    both("~/.composer/auth.json", REGISTRY),
    both("~/.config/composer/auth.json", REGISTRY),
    both("~/.nuget/NuGet", REGISTRY),
    both("~/.m2/settings.xml", REGISTRY),
    both("~/.m2/settings-security.xml", REGISTRY),
    both("~/.gradle/gradle.properties", REGISTRY),
    both("~/.hex/hex.config", REGISTRY),
    both("~/.huggingface", "Hugging Face's token"),
    both("~/.cache/huggingface/token", "Hugging Face's token"),

    // Databases.
    both("~/.pgpass", DATABASE),
    both("~/.my.cnf", DATABASE),
    both("~/.mylogin.cnf", DATABASE),

    // AI tools: their tokens open accounts, their settings name the servers to be started next.
    both("~/.claude", ASSISTANT),
    both("~/.claude.json", ASSISTANT),
    both("~/.codex", ASSISTANT),
    both("~/.gemini", ASSISTANT),
    both("~/.cursor", ASSISTANT),
    both("~/.codeium", ASSISTANT),
    both("~/.continue", ASSISTANT),
    both("~/.copilot", ASSISTANT),
    both("~/.config/github-copilot", ASSISTANT),
    both("~/.config/opencode", ASSISTANT),
    both("~/.local/share/opencode", ASSISTANT),
    linux("~/.config/Claude", ASSISTANT),
    macos("~/Library/Application Support/Claude", ASSISTANT),

    // What was typed.
    both("~/.bash_history", HISTORY),
    both("~/.zsh_history", HISTORY),
    both("~/.zsh_sessions", HISTORY),
    both("~/.local/share/fish/fish_history", HISTORY),
    both("~/.local/share/atuin", HISTORY),
    both("~/.python_history", HISTORY),
    both("~/.node_repl_history", HISTORY),
    both("~/.psql_history", HISTORY),
    both("~/.mysql_history", HISTORY),
    both("~/.sqlite_history", HISTORY),
    both("~/.rediscli_history", HISTORY),

    // Wallets.
    both("~/.bitcoin", WALLET),
    both("~/.ethereum", WALLET),
    both("~/.electrum", WALLET),
    both("~/.config/solana", WALLET),
    macos("~/Library/Application Support/Bitcoin", WALLET),

    // Keyrings.
    linux("~/.local/share/keyrings", KEYRING),
    linux("~/.local/share/kwalletd", KEYRING),
    linux("~/.kde/share/apps/kwallet", KEYRING),
    linux("~/.config/goa-1.0", "sign-ins of GNOME's online accounts"),
    macos("~/Library/Keychains", KEYRING),
    macos("~/Library/Application Support/1Password", PASSWORDS),
    macos("~/Library/Application Support/Bitwarden", PASSWORDS),
    macos("~/Library/Group Containers/2BUA8C4S2C.com.1password", PASSWORDS),

    // Browsers and mail.
    linux("~/.mozilla", BROWSER),
    linux("~/.config/mozilla", BROWSER),
    linux("~/.librewolf", BROWSER),
    linux("~/.config/google-chrome", BROWSER),
    linux("~/.config/google-chrome-beta", BROWSER),
    linux("~/.config/google-chrome-unstable", BROWSER),
    linux("~/.config/chromium", BROWSER),
    linux("~/.config/BraveSoftware", BROWSER),
    linux("~/.config/microsoft-edge", BROWSER),
    linux("~/.config/vivaldi", BROWSER),
    linux("~/.config/opera", BROWSER),
    linux("~/snap/firefox", BROWSER),
    linux("~/snap/chromium", BROWSER),
    linux("~/.var/app/org.mozilla.firefox", BROWSER),
    linux("~/.var/app/com.google.Chrome", BROWSER),
    linux("~/.var/app/org.chromium.Chromium", BROWSER),
    linux("~/.var/app/com.brave.Browser", BROWSER),
    linux("~/.thunderbird", MAIL),
    linux("~/.local/share/evolution", MAIL),
    macos("~/Library/Application Support/Firefox", BROWSER),
    macos("~/Library/Application Support/Google/Chrome", BROWSER),
    macos("~/Library/Application Support/Chromium", BROWSER),
    macos("~/Library/Application Support/BraveSoftware", BROWSER),
    macos("~/Library/Application Support/Microsoft Edge", BROWSER),
    macos("~/Library/Application Support/Vivaldi", BROWSER),
    macos("~/Library/Application Support/com.operasoftware.Opera", BROWSER),
    macos("~/Library/Application Support/Arc", BROWSER),
    macos("~/Library/Safari", BROWSER),
    macos("~/Library/Containers/com.apple.Safari", BROWSER),
    macos("~/Library/Cookies", BROWSER),
    macos("~/Library/HTTPStorages", BROWSER),
    macos("~/Library/Thunderbird", MAIL),
    macos("~/Library/Mail", MAIL),
    macos("~/Library/Messages", "messages, one-time codes among them"),
];

//! The pictures: a page per dashboard, and a screenshot where a browser can make one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use lifecycle_tests::binaries::target_dir;
use lifecycle_tests::process::Role;
use lifecycle_tests::program::on_path;

use crate::monitor_check::dashboard::Dashboard;
use crate::monitor_check::live::Seen;
use crate::monitor_check::render;
use crate::monitor_check::shipped::Shipped;

const BROWSERS: &[&str] = &["chromium", "google-chrome", "chromium-browser", "firefox"];
const BROWSER_DEADLINE: Duration = Duration::from_secs(40);
const WIDTH: u64 = 1648;

/// Draws every dashboard into the target folder; what was made, in lines. The first is `dashboard.html`.
///
/// # Errors
/// When a file cannot be written. A browser that fails is no error.
pub(crate) fn draw(shipped: &Shipped, seen: &Seen) -> Result<Vec<String>> {
    let mut made = Vec::new();
    for (index, (dashboard, data)) in shipped.dashboards.iter().zip(&seen.data).enumerate() {
        let number = if index == 0 { String::new() } else { format!("-{}", index + 1) };
        let page = target_dir()?.join(format!("dashboard{number}.html"));
        fs::write(&page, render::page(dashboard, data, seen.time))?;
        made.push(format!("drawn  {}", page.display()));
        made.push(screenshot(dashboard, &page));
    }
    Ok(made)
}

fn screenshot(dashboard: &Dashboard, page: &Path) -> String {
    let Some((name, browser)) = BROWSERS.iter().find_map(|name| Some((*name, on_path(name)?))) else {
        return format!("no screenshot: there is none of {} on PATH", BROWSERS.join(", "));
    };
    let picture = page.with_extension("png");
    // One of an earlier run must not pass for this one's.
    let _ = fs::remove_file(&picture);
    match take(name, &browser, page, &picture, height(dashboard)) {
        Ok(()) if picture.is_file() => format!("drawn  {} (with {name})", picture.display()),
        Ok(()) => format!("no screenshot: {name} made none"),
        Err(error) => format!("no screenshot: {name}: {error:#}"),
    }
}

/// The grid's rows with their gaps, and the words above.
fn height(dashboard: &Dashboard) -> u64 {
    let rows = dashboard.panels.iter().map(|panel| panel.place.y + panel.place.h).max();
    rows.unwrap_or_default() * 38 + 160
}

fn take(name: &str, browser: &Path, page: &Path, picture: &Path, height: u64) -> Result<()> {
    let size = format!("{WIDTH},{height}");
    let command = Role::program(name, browser);
    let command = if name == "firefox" {
        command.args(["--headless", "--no-remote", "--window-size", &size, "--screenshot"]).arg(picture)
    } else {
        let own = PathBuf::from("profile");
        // Its sandbox does not work for root and in many containers; the page is our own.
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", own.display()))
            .arg(format!("--window-size={size}"))
            .arg(format!("--screenshot={}", picture.display()))
    };
    let mut browser = command.arg(format!("file://{}", page.display())).spawn()?;
    let ended = browser.wait(BROWSER_DEADLINE)?;
    anyhow::ensure!(ended.success(), "it ended with {ended}");
    Ok(())
}

//! Which channel hears of what. Pure.

use crate::base::event::Event;
use crate::base::severity::Severity;
use crate::policy::Alerts;

/// From which severity on a channel hears of an event; `None` where no route leads it there.
pub(super) fn severity_min(alerts: &Alerts, (channel, event): (&str, Event)) -> Option<Severity> {
    let routes = alerts.routes.iter().filter(|route| {
        route.events.contains(&event) && route.channels.iter().any(|name| name == channel)
    });
    routes.map(|route| route.severity_min).min()
}

/// Whether any route leads to a channel.
pub(super) fn is_used(alerts: &Alerts, channel: &str) -> bool {
    let mut routes = alerts.routes.iter();
    routes.any(|route| route.channels.iter().any(|name| name == channel))
}

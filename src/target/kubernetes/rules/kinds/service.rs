//! A Service exists at once. One of type LoadBalancer is ready when it has an address.

use super::super::super::seen::Judgement;
use super::super::look::Look;
use super::super::view::View;

pub(super) fn status(_look: &mut Look<'_>, service: View<'_>) -> Judgement {
    let waits =
        service.text("/spec/type") == "LoadBalancer" && service.list("/status/loadBalancer/ingress").next().is_none();
    if waits {
        return Judgement::NotYet(format!("{}: its load balancer has no address yet", service.called()));
    }
    Judgement::Ready
}

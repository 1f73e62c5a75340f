//! GPUs that a node only says it has, of a vendor that nobody else asks for: a node keeps what it is told to have as long as
//! no device plugin says otherwise.

use super::room::Room;

/// The node that has them.
const NODE: &str = "node-1";

/// Taken away with the value.
pub(super) struct Devices<'a> {
    room: &'a Room,
    resource: String,
}

impl<'a> Devices<'a> {
    pub(super) fn new(room: &'a Room, resource: &str, count: u32) -> Self {
        let devices = Self { room, resource: resource.to_owned() };
        assert!(devices.patch("add", count).is_some(), "the node cannot be told what it has");
        room.until("the node has GPUs", || {
            let node = room.get(&["node", NODE]);
            node["status"]["allocatable"][resource].as_str().and_then(|text| text.parse().ok()) == Some(count)
        });
        devices
    }

    fn patch(&self, operation: &str, count: u32) -> Option<String> {
        let path = format!("/status/capacity/{}", self.resource.replace('/', "~1"));
        let patch = format!(r#"[{{"op": "{operation}", "path": "{path}", "value": "{count}"}}]"#);
        self.room.try_kubectl(&["patch", "node", NODE, "--subresource=status", "--type=json", "-p", &patch])
    }
}

impl Drop for Devices<'_> {
    fn drop(&mut self) {
        let _gone = self.patch("remove", 0);
    }
}

//! What a worker does when the view of the backends has changed: serves those who wait, and cuts off what
//! was to be drained by now.

use super::backends::Place;
use super::slots::Key;
use super::worker::Worker;

impl Worker {
    /// Takes the slots in that other threads have granted.
    pub(super) fn take_grants(&mut self) {
        let Some(desk) = self.context.shared.threads.get(self.context.thread) else {
            return;
        };
        for grant in desk.take_grants() {
            let (key, _) = Key::unpack(grant.client);
            let Some(client) = self.clients.get_mut(key) else {
                self.context.return_grant(&grant.record);
                continue;
            };
            let fate = client.take_grant(&grant, &mut self.context, &mut self.scratch);
            self.settle(key, fate);
        }
    }

    /// Backends have come or gone: whoever waits may not have to any more.
    pub(super) fn review_waiters(&mut self) {
        self.context.serve_line();
        let waiting: Vec<Key> = self.context.waiters.values().copied().collect();
        for key in waiting {
            if let Some(client) = self.clients.get_mut(key) {
                let fate = client.reconsider(&mut self.context, &mut self.scratch);
                self.settle(key, fate);
            }
        }
    }

    /// Cuts off what is under way at backends that were to be drained by now.
    pub(super) fn cut_off_overdue(&mut self) {
        for place in self.context.backends.take_overdue(self.context.now) {
            for key in self.clients_at(place) {
                if let Some(client) = self.clients.get_mut(key) {
                    let fate = client.cut_off_drained(&mut self.context, &mut self.scratch);
                    self.settle(key, fate);
                }
            }
        }
    }

    fn clients_at(&self, place: Place) -> Vec<Key> {
        let upstreams = &self.context.upstreams;
        upstreams
            .keys()
            .filter_map(|key| upstreams.get(key))
            .filter(|upstream| upstream.place == place)
            .filter_map(|upstream| upstream.owner)
            .collect()
    }
}

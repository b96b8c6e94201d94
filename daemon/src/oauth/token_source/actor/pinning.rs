//! Who gave tokens that do not say it, as those of old npm packages: asked as soon as
//! they are taken over, not at their first refresh, when the server may name another.

use super::{Actor, Done};
use crate::oauth::discovery::Known;
use crate::oauth::grant::Grant;
use crate::oauth::identity::{Identity, ResourceChoice};
use crate::oauth::sign_in::Tools;
use crate::oauth::store::Unsaved;

impl Actor {
    pub(super) fn pin(&mut self) {
        // Only what a server says of itself is believed here: with a resource of the
        // user it could not be told from a guess.
        let is_said = self.identity.resource == ResourceChoice::Derived;
        let Some(grant) = self
            .grant
            .clone()
            .filter(|it| is_said && it.issuer.is_none())
        else {
            return;
        };
        let (tools, identity) = (self.tools.clone(), self.identity.clone());
        self.tasks.spawn(async move {
            let issuer = issuer(&tools, &identity).await;
            Done::Pinned(Box::new(grant), issuer)
        });
    }

    pub(super) fn pinned(&mut self, of: &Grant, issuer: Option<String>) {
        let (Some(grant), Some(issuer)) = (&mut self.grant, issuer) else {
            return;
        };
        if grant.access_token == of.access_token && grant.issuer.is_none() {
            grant.issuer = Some(issuer.clone());
            if let Some(client) = &mut grant.client {
                client.issuer = issuer;
            }
            // Written as soon as nothing else is under way.
            self.unsaved = Some(Unsaved::not_yet(of));
            self.storing.over();
        }
    }
}

/// Returns whom the server's metadata name.
async fn issuer(tools: &Tools, identity: &Identity) -> Option<String> {
    let servers = tools.endpoints.connect(identity).await.ok()?;
    let discovered = servers.discover(identity, &Known::default()).await.ok()?;
    discovered.resource.map(|_| discovered.server.issuer)
}

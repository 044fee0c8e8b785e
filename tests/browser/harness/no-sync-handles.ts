/** The package's worker in a browser that has OPFS but no sync access handles. */

import "/pkg/worker.js";

Reflect.deleteProperty(FileSystemFileHandle.prototype, "createSyncAccessHandle");

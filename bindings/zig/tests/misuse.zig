test { _ = @import("kvcache"); }

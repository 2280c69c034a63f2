local app = require "app"
return { greet = function(name) return "hi " .. name .. ", I " .. app.nap(0.2) end }

#!/bin/sh
# version.sh: what `fetch --version` has to say, by the header's macros.
echo "fetch $(sed -n 's/^#define UDS_HTTP_VERSION_[A-Z]* //p' "$(dirname "$0")/../uds_http.hpp" | paste -sd.)"

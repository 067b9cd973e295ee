# The image of proxyherd: the program, the C library and certificates of public CAs. No
# shell, no package manager, no root.
#
#     docker build --tag proxyherd .
#     docker run --rm --publish 127.0.0.1:12000-12004:12000-12004 proxyherd
#
# With a config of your own and reports that stay:
#
#     docker run --read-only --volume ./herd.toml:/etc/proxyherd/herd.toml:ro \
#         --volume reports:/var/lib/proxyherd proxyherd serve Riley

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# The time that files of the image carry, for a build that can be repeated.
ARG SOURCE_DATE_EPOCH=0
RUN deploy/build.sh /out
RUN deploy/container/root.sh /out/proxyherd /root-of-image && mkdir /empty

FROM scratch
COPY --from=build /root-of-image /
# A new volume takes the owner of the folder that it covers.
COPY --from=build --chown=65532:65532 /empty /var/lib/proxyherd
USER 65532:65532
WORKDIR /var/lib/proxyherd
ENV PROXYHERD_CONFIG=/etc/proxyherd/herd.toml
# Clients, neighbours, web.
EXPOSE 12000 13000 15000
VOLUME /var/lib/proxyherd
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["/usr/bin/proxyherd", "healthcheck"]
ENTRYPOINT ["/usr/bin/proxyherd"]
CMD ["up"]

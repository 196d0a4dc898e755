# The operator as a static binary on nothing else. `make image` builds the binary and fills the
# build context; with an engine at hand: docker build -t kintsugi target/image.
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY kintsugi /kintsugi
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/kintsugi"]
CMD ["run"]

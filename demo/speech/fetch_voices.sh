#!/usr/bin/env bash
# Downloads the speech synthesisers from Debian and unpacks what the demo needs into one folder, without installing anything.
#   demo/speech/fetch_voices.sh FOLDER
# Afterwards FOLDER holds about 45 MB: espeak-ng (GPL-3+), RHVoice with the voices Aleksandr, Anna, Elena and Irina
# (LGPL-2.1+), ru-tts (Expat). The other RHVoice voices are left out: their licences forbid commercial or derived use.
set -euo pipefail
target=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A private package index of this machine's own mirror: RHVoice's voices lie in bookworm's non-free section, ru-tts came
# with trixie. DEBIAN_MIRROR names another mirror.
mkdir -p "$work"/lists/partial "$work"/cache/archives/partial "$work"/parts "$work"/debs
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | sort | sed -n 1p)}
signed="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
printf 'deb %s %s %s\n' "$signed" "$mirror" "bookworm main non-free" "$signed" "$mirror" "trixie main" > "$work/sources.list"
apt=(-o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=$work/parts" -o "Dir::State::Lists=$work/lists"
  -o "Dir::Cache=$work/cache" -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update -qq
(cd "$work/debs" && apt-get "${apt[@]}" download -qq \
  espeak-ng/bookworm espeak-ng-data/bookworm libespeak-ng1/bookworm libsonic0/bookworm libpcaudio0/bookworm \
  librhvoice5/bookworm librhvoice-core7/bookworm rhvoice-russian/bookworm \
  ru-tts/trixie librutts7/trixie rulex/trixie rulex-data/trixie librulexdb0/trixie)
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done

share="$work/root/usr/share"
mkdir -p "$target/bin" "$target/lib" "$target/RHVoice/voices" "$target/RHVoice/languages"
cp "$work"/root/usr/bin/{espeak-ng,ru_tts,lexholder-ru,rulex} "$target/bin/"
cp -P "$work"/root/usr/lib/x86_64-linux-gnu/*.so* "$target/lib/"
# espeak-ng only links to the sound card's library; we never play, so a stub of it spares ALSA and PulseAudio.
{
  echo 'void *create_audio_device_object(void) { return 0; }'
  for name in open close destroy write drain flush strerror; do echo "int audio_object_$name(void) { return 0; }"; done
} > "$work/stub.c"
rm "$target"/lib/libpcaudio.so.0*
gcc -shared -fPIC -w -Wl,-soname,libpcaudio.so.0 -o "$target/lib/libpcaudio.so.0" "$work/stub.c"
cp -r "$work"/root/usr/lib/x86_64-linux-gnu/espeak-ng-data "$target/"
find "$target/espeak-ng-data" -maxdepth 1 -name '*_dict' ! -name 'ru_dict' ! -name 'en_dict' -delete
cp -r "$share/RHVoice/languages/Russian" "$target/RHVoice/languages/"
for voice in aleksandr anna elena irina; do
  mkdir -p "$target/RHVoice/voices/$voice"
  cp -r "$share/RHVoice/voices/$voice"/{voice.*,16000} "$target/RHVoice/voices/$voice/" 
done
echo "quality=min" > "$target/RHVoice/RHVoice.conf"  # the 16 kHz data, the only one copied
cp "$share/freespeech/rulex.db" "$target/"
echo "voices are in $target ($(du -sm "$target" | cut -f1) MB)"

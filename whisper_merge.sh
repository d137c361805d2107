#!/usr/bin/env bash
# Merges two Whisper models. Help: ./whisper_merge.sh --help (in English: --lang en)
# Слияние двух моделей Whisper. Справка: ./whisper_merge.sh --help

# Пути можно изменить здесь, в окружении или ключами --model-a, --model-b, --output-dir.
MODEL_A="${MODEL_A:-/mnt/cloud/llm/whisper/whisper-large-v3-russian}"
MODEL_B="${MODEL_B:-/mnt/cloud/llm/whisper/whisper-large-v3-ru-podlodka}"
OUTPUT_DIR="${OUTPUT_DIR:-/mnt/cloud/llm/whisper/whisper-large-v3-russian+podlodka}"
ENVIRONMENT="whisper-merge"

set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
LOG_DIR="${LOG_DIR:-$ROOT/logs}"

language() {
    local word value="" previous=""
    for word in "$@"; do
        [[ $previous == --lang ]] && value="$word"
        [[ $word == --lang=* ]] && value="${word#--lang=}"
        previous="$word"
    done
    [[ -z $value ]] && value="${WHISPER_MERGE_LANG:-${LC_ALL:-${LC_MESSAGES:-${LANG:-ru}}}}"
    case "$value" in [eE][nN]*) echo en ;; *) echo ru ;; esac
}

say() { # say RU EN
    if [[ $LANGUAGE_SHOWN == en ]]; then echo "$2"; else echo "$1"; fi
}

script_help() {
    say "Скрипт whisper_merge.sh: слияние двух моделей Whisper.

  ./whisper_merge.sh --update      установить зависимости (окружение conda «$ENVIRONMENT»; без conda — .venv)
  ./whisper_merge.sh [ключи]       слить модели; без ключей — все три метода с настройками по умолчанию

Переменные в начале скрипта или в окружении: MODEL_A, MODEL_B, OUTPUT_DIR; LOG_DIR — папка журналов.
Ниже — справка программы; пути к моделям скрипт подставляет сам.
" "The script whisper_merge.sh merges two Whisper models.

  ./whisper_merge.sh --update      install what is needed (conda environment “$ENVIRONMENT”; without conda, .venv)
  ./whisper_merge.sh [flags]       merge; without flags all three methods with their defaults

Variables at the start of the script or in the environment: MODEL_A, MODEL_B, OUTPUT_DIR; LOG_DIR is where logs go.
The program's own help follows; the script fills in the paths of the models.
"
}

have_conda() { command -v conda >/dev/null 2>&1; }

conda_python() { # prints the environment's interpreter; fails if there is no such environment
    local base
    have_conda || return 1
    base="$(conda info --base 2>/dev/null)" || return 1
    [[ -x $base/envs/$ENVIRONMENT/bin/python ]] && echo "$base/envs/$ENVIRONMENT/bin/python"
}

find_python() {
    conda_python && return
    if [[ -x $ROOT/.venv/bin/python ]]; then echo "$ROOT/.venv/bin/python"; return; fi
    local candidate
    for candidate in python3 python; do
        if "$candidate" -c 'import sys, numpy; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

update() {
    local python
    if have_conda; then
        say "Готовлю окружение conda «$ENVIRONMENT»." "Preparing the conda environment “$ENVIRONMENT”."
        conda_python >/dev/null || conda create --yes --quiet --name "$ENVIRONMENT" python=3.11
        python="$(conda_python)"
    else
        say "conda не найдена: готовлю .venv в $ROOT." "There is no conda: preparing .venv in $ROOT."
        [[ -x $ROOT/.venv/bin/python ]] || "${PYTHON:-python3}" -m venv "$ROOT/.venv"
        python="$ROOT/.venv/bin/python"
    fi
    "$python" -m pip install --quiet -r "$ROOT/requirements.txt" -c "$ROOT/requirements/versions.txt"
    say "Зависимости установлены: $python" "Everything is installed: $python"
}

has_flag() { # has_flag FLAG ARGUMENTS…
    local flag="$1" word
    shift
    for word in "$@"; do [[ $word == "$flag" || $word == "$flag="* ]] && return 0; done
    return 1
}

LANGUAGE_SHOWN="$(language "$@")"
ARGUMENTS=()
UPDATE=no
for word in "$@"; do
    if [[ $word == --update ]]; then UPDATE=yes; else ARGUMENTS+=("$word"); fi
done

if [[ $UPDATE == yes ]]; then
    update
    # The guide's first run only installs; with further flags the merge follows.
    [[ ${#ARGUMENTS[@]} -eq 0 ]] && exit 0
fi

if ! PYTHON_FOUND="$(find_python)"; then
    say "Не найден Python 3.11+ с нужными пакетами. Запустите: ./whisper_merge.sh --update" \
        "No Python 3.11+ with the packages was found. Run: ./whisper_merge.sh --update" >&2
    exit 1
fi
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

if has_flag --help "${ARGUMENTS[@]+"${ARGUMENTS[@]}"}" || has_flag -h "${ARGUMENTS[@]+"${ARGUMENTS[@]}"}"; then
    script_help
    exec "$PYTHON_FOUND" -m merger --help --lang "$LANGUAGE_SHOWN"
fi

# verify, explain and methods merge nothing: nothing to fill in.
if [[ ${#ARGUMENTS[@]} -gt 0 && ${ARGUMENTS[0]} != -* ]]; then
    has_flag --lang "${ARGUMENTS[@]}" || ARGUMENTS+=(--lang "$LANGUAGE_SHOWN")
    exec "$PYTHON_FOUND" -m merger "${ARGUMENTS[@]}"
fi

# Whoever names the models with --model has named them all.
if ! has_flag --model "${ARGUMENTS[@]+"${ARGUMENTS[@]}"}"; then
    has_flag --model-a "${ARGUMENTS[@]+"${ARGUMENTS[@]}"}" || ARGUMENTS+=(--model-a "$MODEL_A")
    has_flag --model-b "${ARGUMENTS[@]+"${ARGUMENTS[@]}"}" || ARGUMENTS+=(--model-b "$MODEL_B")
fi
has_flag --output-dir "${ARGUMENTS[@]+"${ARGUMENTS[@]}"}" || ARGUMENTS+=(--output-dir "$OUTPUT_DIR")
has_flag --lang "${ARGUMENTS[@]}" || ARGUMENTS+=(--lang "$LANGUAGE_SHOWN")
if ! has_flag --log "${ARGUMENTS[@]}"; then
    mkdir -p "$LOG_DIR" 2>/dev/null && [[ -w $LOG_DIR ]] || LOG_DIR="${TMPDIR:-/tmp}"
    LOG="$LOG_DIR/whisper_merge-$(date +%Y%m%d-%H%M%S)-$$.log"
    ARGUMENTS+=(--log "$LOG")
fi

STATUS=0
"$PYTHON_FOUND" -m merger "${ARGUMENTS[@]}" || STATUS=$?
[[ -n ${LOG:-} ]] && say "Журнал: $LOG" "Log: $LOG" >&2
exit "$STATUS"
